"""`LLM` over a tiny random model that speaks bytes: order, stops, streams, log-probabilities, threads, mistakes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustinfer import LLM, SamplingParams, StructuredOutputsParams
from rustinfer.engine.plan import Plan
from rustinfer.engine.sampled import Flight
from rustinfer.errors import UserError
from rustinfer.progress import progress

from .engine.tiny import checkpoint, load, save, talking

GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)


@pytest.fixture
def llm() -> Iterator[LLM]:
    with LLM.over(load(made=talking())) as made:
        yield made
        assert not made._collectors
        engine = made._parts.engine
        assert not engine.has_work
        assert engine.cache.available == engine.cache.pool.total


def test_results_are_in_the_order_of_the_prompts_and_equal_single_runs(llm: LLM) -> None:
    prompts = [f"prompt {i} " * (1 + 7 * i % 5) for i in range(20)]
    params = [SamplingParams(temperature=0, max_tokens=1 + 3 * i % 7, ignore_eos=True) for i in range(20)]
    results = llm.generate(prompts, params)
    assert [r.prompt for r in results] == prompts
    assert [len(r.outputs[0].token_ids) for r in results] == [p.max_tokens for p in params]
    assert all(r.finished for r in results)
    for result, prompt, one in zip(results, prompts, params, strict=True):
        again = llm.generate(prompt, one)[0]
        assert again.outputs[0].token_ids == result.outputs[0].token_ids
        assert again.outputs[0].text == result.outputs[0].text


def test_prompts_may_be_token_ids(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("hello")
    results = llm.generate([{"prompt_token_ids": ids}, {"prompt": "hello"}, "hello"], GREEDY)
    assert [r.prompt_token_ids for r in results] == [ids] * 3
    assert [r.prompt for r in results] == [None, "hello", "hello"]
    assert len({r.outputs[0].text for r in results}) == 1


def test_text_is_what_the_tokens_say(llm: LLM) -> None:
    output = llm.generate("abc", GREEDY)[0].outputs[0]
    assert output.text == bytes(t - 1 for t in output.token_ids).decode("utf-8", "replace")
    assert output.finish_reason == "length"
    assert output.logprobs is None
    assert output.cumulative_logprob is None


def stop_in(text: str) -> str:
    """A piece of two whole characters, not at the beginning."""
    return next(text[i : i + 2] for i in range(2, len(text) - 2) if "\ufffd" not in text[i : i + 2])


def test_a_stop_string_ends_the_text_before_it_and_frees_the_sequence(llm: LLM) -> None:
    whole = llm.generate("abc", SamplingParams(temperature=0, max_tokens=60, ignore_eos=True))[0].outputs[0]
    stop = stop_in(whole.text)
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, stop=[stop])
    cut = llm.generate("abc", params)[0].outputs[0]
    assert (cut.finish_reason, cut.stop_reason) == ("stop", stop)
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
    assert len(cut.token_ids) < len(whole.token_ids)
    kept = llm.generate("abc", SamplingParams(temperature=0, max_tokens=60, stop=stop, include_stop_str_in_output=True))
    assert kept[0].outputs[0].text.endswith(stop)


def test_stop_strings_wait_for_min_tokens(llm: LLM) -> None:
    only = {"allowed_token_ids": [ord("a") + 1], "max_tokens": 20}
    for least in (0, 5):
        said = llm.generate("abc", SamplingParams(stop=["a"], min_tokens=least, **only))[0].outputs[0]
        assert (said.text, len(said.token_ids), said.stop_reason) == ("a" * least, least + 1, "a")


def test_a_stop_token_is_among_the_tokens_and_not_in_the_text(llm: LLM) -> None:
    whole = llm.generate("abc", GREEDY)[0].outputs[0]
    token = whole.token_ids[3]
    at = whole.token_ids.index(token)
    cut = llm.generate("abc", SamplingParams(temperature=0, ignore_eos=True, stop_token_ids=[token]))[0].outputs[0]
    assert (cut.finish_reason, cut.stop_reason) == ("stop", token)
    assert cut.token_ids == whole.token_ids[: at + 1]
    assert cut.text == bytes(t - 1 for t in cut.token_ids[:-1]).decode("utf-8", "replace")


def test_several_continuations_stop_each_for_itself(llm: LLM) -> None:
    params = {"temperature": 1.0, "seed": 4, "max_tokens": 30, "ignore_eos": True, "n": 3}
    free = llm.generate("abc", SamplingParams(**params))[0].outputs
    stop = stop_in(free[1].text)
    assert stop not in free[0].text
    outputs = llm.generate("abc", SamplingParams(**params, stop=[stop]))[0].outputs
    assert [o.index for o in outputs] == [0, 1, 2]
    assert outputs[1].text == free[1].text[: free[1].text.index(stop)]
    assert outputs[0].text == free[0].text
    assert [o.finish_reason for o in outputs][:2] == ["length", "stop"]


def test_log_probabilities_by_token(llm: LLM) -> None:
    params = SamplingParams(temperature=1.0, seed=1, logprobs=2, max_tokens=8, ignore_eos=True)
    output = llm.generate("abc", params)[0].outputs[0]
    assert output.logprobs is not None
    assert len(output.logprobs) == 8
    for token, row in zip(output.token_ids, output.logprobs, strict=True):
        assert next(iter(row)) == token
        assert 2 <= len(row) <= 3
        ranked = sorted((v.rank, v.logprob) for v in row.values())
        assert [rank for rank, _ in ranked[:2]] == [1, 2]
        assert ranked[0][1] >= ranked[1][1]
    total = sum(row[t].logprob for t, row in zip(output.token_ids, output.logprobs, strict=True))
    assert output.cumulative_logprob == pytest.approx(total)


def test_chat_renders_the_template_and_encodes_its_special_tokens(llm: LLM) -> None:
    conversation = [{"role": "user", "content": "hi"}]
    results = llm.chat([conversation, [*conversation, {"role": "user", "content": "there"}]], GREEDY)
    tokens = results[0].prompt_token_ids
    assert results[0].prompt == "user: hi<end>assistant:"
    assert tokens.count(0) == 1
    assert results[1].prompt_token_ids.count(0) == 2
    assert llm.chat(conversation, GREEDY)[0].outputs[0].text == results[0].outputs[0].text


def test_what_a_message_says_may_come_in_parts(llm: LLM) -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    whole, cut = (llm.chat([{"role": "user", "content": content}], GREEDY)[0] for content in ("hi", parts))
    assert cut.prompt == whole.prompt
    for wrong, told in ((5, "must be a string"), ([{"type": "image_url"}], "may hold parts of the form")):
        with pytest.raises(UserError, match=f"a message's content {told}"):
            llm.chat([{"role": "user", "content": wrong}], GREEDY)


def test_a_stream_adds_up_and_may_be_left(llm: LLM) -> None:
    whole = llm.generate("abc", GREEDY)[0].outputs[0]
    deltas = list(llm.stream("abc", GREEDY))
    assert "".join(d.text for d in deltas) == whole.text
    assert [t for d in deltas for t in d.token_ids] == whole.token_ids
    assert [d.finish_reason for d in deltas] == [None] * 15 + ["length"]
    stream = llm.stream("abc", GREEDY)
    next(stream)
    during = llm.generate("abc", GREEDY)[0].outputs[0]
    assert during.text == whole.text
    stream.close()  # type: ignore[attr-defined]
    llm.stream("never begun", GREEDY)
    assert [d.text for d in llm.stream([{"role": "user", "content": "hi"}], GREEDY)]


@pytest.mark.parametrize("streaming", [False, True])
def test_prompts_that_fill_steps_go_before_answers_but_not_before_one_that_is_read(llm: LLM, streaming: bool) -> None:
    runner = llm._parts.engine.runner
    launch, steps = runner.launch, []

    def watched(plan: Plan) -> Flight:
        steps.append((len(plan.decodes), plan.tokens))
        return launch(plan)

    stream = llm.stream("abc", SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    if streaming:
        next(stream)
    runner.launch = watched  # type: ignore[method-assign]
    llm.generate([f"{i} " * 32 for i in range(6)], GREEDY)
    full = [decodes for decodes, tokens in steps if tokens == 64]
    assert len(full) == 6
    assert all(full) if streaming else not any(full)
    stream.close()  # type: ignore[attr-defined]


def test_threads_share_the_engine(llm: LLM) -> None:
    prompts = [f"prompt {i}" for i in range(12)]
    wanted = [r.outputs[0].text for r in llm.generate(prompts, GREEDY)]
    found: dict[int, str] = {}

    def work(i: int) -> None:
        found[i] = llm.generate(prompts[i], GREEDY)[0].outputs[0].text

    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [found[i] for i in range(12)] == wanted


def test_mistakes_are_said_before_anything_runs(llm: LLM) -> None:
    with pytest.raises(UserError, match="2 prompts and 1 sampling parameters"):
        llm.generate(["a", "b"], [GREEDY])
    with pytest.raises(UserError, match="context only 256"):
        llm.generate(["fine", "x" * 300], GREEDY)
    with pytest.raises(UserError, match="out of vocabulary"):
        llm.generate({"prompt_token_ids": [257]}, GREEDY)
    with pytest.raises(UserError, match="prompt is empty"):
        llm.generate("", GREEDY)
    ids = (["a"], [True], None, 3, "ab")
    for wrong in (3, {"text": "a"}, {"prompt": None}, {"prompt": 3}, *({"prompt_token_ids": each} for each in ids)):
        with pytest.raises(UserError, match="prompt"):
            llm.generate([wrong], GREEDY)  # type: ignore[list-item]
        with pytest.raises(UserError, match="prompt"):
            llm.generate(wrong, GREEDY)  # type: ignore[arg-type]
    for params in ({"temperature": 0}, 3, [GREEDY, None]):
        with pytest.raises(UserError, match="sampling parameters are a SamplingParams"):
            llm.generate(["a", "b"], params)  # type: ignore[arg-type]
        with pytest.raises(UserError, match="sampling parameters"):
            llm.stream("a", params)  # type: ignore[arg-type]
    for conversations in ([], [[{"role": "user", "content": "a"}], []]):
        with pytest.raises(UserError, match="conversation is empty"):
            llm.chat(conversations, GREEDY)
    for conversation in ("hello", ["hello"], {"role": "user", "content": "a"}, [None, {"role": "user"}], 3):
        with pytest.raises(UserError, match="a conversation is a list of messages such as"):
            llm.chat(conversation, GREEDY)  # type: ignore[arg-type]
    assert llm.generate([], GREEDY) == []


def test_an_error_while_running_ends_that_request_and_no_other(llm: LLM) -> None:
    runner = llm._parts.engine.runner
    launch = runner.launch

    def failing(plan):  # type: ignore[no-untyped-def]
        if any(sequence.request.prompt[0] == 99 for sequence in plan.sequences()):
            raise RuntimeError("broken kernel")
        return launch(plan)

    runner.launch = failing  # type: ignore[method-assign]
    bad, good = llm.generate([{"prompt_token_ids": [99, 4]}, "abc"], GREEDY)
    assert bad.outputs[0].finish_reason == "error"
    assert "RuntimeError" in str(bad.outputs[0].stop_reason)
    assert good.outputs[0].finish_reason == "length"


def test_a_model_without_a_tokenizer_takes_and_gives_token_ids() -> None:
    with LLM.over(load(made=checkpoint())) as llm:
        output = llm.generate({"prompt_token_ids": [1, 2]}, SamplingParams(max_tokens=3, logprobs=1, ignore_eos=True))
        assert len(output[0].outputs[0].token_ids) == 3
        assert output[0].outputs[0].text == ""
        with pytest.raises(UserError, match="prompt_token_ids"):
            llm.generate("text", GREEDY)
        assert llm.vocab_size == 128


def test_a_pin_changes_what_runs_in_every_step_and_not_what_is_said(tmp_path: Path) -> None:
    place, params = str(save(tmp_path)), SamplingParams(temperature=0, max_tokens=24, logprobs=0)
    said, ran = [], []
    for pins in ({}, {"attention": "reference"}, {"linear": "reference"}):
        with LLM(place, dtype="float32", kv_cache_tokens=1024, threads=1, pins=pins) as llm:
            (output,) = llm.generate("hello", params, use_tqdm=False)[0].outputs
            said.append((output.token_ids, output.cumulative_logprob))
            ran.append({(b.op.name, b.backend, b.target.decode) for b in llm.bindings if b.op.name in pins})
    assert ran[1] == {("attention", "reference", False), ("attention", "reference", True)}
    assert ran[2] == {("linear", "reference", False), ("linear", "reference", True)}
    for tokens, score in said[1:]:
        assert tokens == said[0][0]
        assert score == pytest.approx(said[0][1], abs=1e-3)


def test_orders_that_nothing_comes_of_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(made=talking(), pins={"gelu_mul": "reference", "linear": "reference"}, prefer=("triton", "cpu"))
    told = [record.getMessage().partition(":")[0] for record in caplog.records if "comes of it" in record.getMessage()]
    assert told == ["--pin gelu_mul=reference", "--prefer triton"]


def test_a_closed_llm_says_so() -> None:
    llm = LLM.over(load(made=talking()))
    assert llm.max_model_len == 256
    assert {b.op.name for b in llm.bindings} >= {"attention", "sample"}
    llm.close()
    llm.close()
    with pytest.raises(UserError, match="closed"):
        llm.generate("a", GREEDY)


def test_progress_is_drawn_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress(3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress(3) as advance:
        advance(3)
    assert "3/3" in capsys.readouterr().err
    with progress(3, show=False) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_structured_outputs_as_vllm_spells_them(llm: LLM) -> None:
    params = SamplingParams(temperature=1.0, seed=3, structured_outputs=StructuredOutputsParams(choice=["one", "two"]))
    results = llm.generate(["a", "b", "c"], params)
    assert {r.outputs[0].text for r in results} <= {"one", "two"}
    assert all(r.outputs[0].finish_reason == "stop" for r in results)
    bad = SamplingParams(structured_outputs=StructuredOutputsParams(regex="("))
    refused, fine = (r.outputs[0] for r in llm.generate(["a", "b"], [bad, GREEDY]))
    assert refused.finish_reason == "error"
    assert "the regex cannot be used" in str(refused.stop_reason)
    assert fine.finish_reason == "length"


def test_bad_words_are_text(llm: LLM) -> None:
    plain = llm.generate("abc", GREEDY)[0].outputs[0]
    words = [c for c in plain.text if c.isascii()][:1]
    assert words
    found = llm.generate("abc", SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, bad_words=words))
    assert words[0] not in found[0].outputs[0].text


def test_the_best_of_several(llm: LLM) -> None:
    shape = {"temperature": 5.0, "seed": 4, "max_tokens": 4, "ignore_eos": True}
    every = llm.generate("abc", SamplingParams(**shape, n=8, logprobs=0))[0].outputs
    best = llm.generate("abc", SamplingParams(**shape, n=3, best_of=8))[0].outputs
    ranked = sorted(every, key=lambda o: -(o.cumulative_logprob or 0))
    assert [o.token_ids for o in best] == [o.token_ids for o in ranked[:3]]
    assert [o.index for o in best] == [0, 1, 2]
    assert best[0].logprobs is None
    with pytest.raises(UserError, match="best_of cannot be streamed"):
        next(llm.stream("abc", SamplingParams(best_of=2)))


def test_a_prompt_is_scored(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=2)
    first, second = llm.generate(["hello", "hello there"], params)
    assert first.prompt_logprobs is not None
    assert second.prompt_logprobs is not None
    assert [row and next(iter(row)) for row in second.prompt_logprobs] == [None, *second.prompt_token_ids[1:]]
    for one, other in zip(first.prompt_logprobs[1:], second.prompt_logprobs[1:], strict=False):
        assert one is not None
        assert other is not None
        assert 2 <= len(one) <= 3
        assert {t: v.logprob for t, v in one.items()} == pytest.approx(
            {t: v.logprob for t, v in other.items()}, abs=1e-4
        )


def test_tokens_need_not_become_text(llm: LLM) -> None:
    spoken = llm.generate(["abc", "de"], SamplingParams(temperature=0, max_tokens=9, ignore_eos=True))
    silent = llm.generate(["abc", "de"], SamplingParams(temperature=0, max_tokens=9, ignore_eos=True, detokenize=False))
    assert [o.outputs[0].token_ids for o in silent] == [o.outputs[0].token_ids for o in spoken]
    assert [o.outputs[0].text for o in silent] == ["", ""]
    assert [o.outputs[0].finish_reason for o in silent] == ["length"] * 2
    scored = SamplingParams(temperature=0, max_tokens=9, ignore_eos=True, detokenize=False, logprobs=1)
    assert len(llm.generate("abc", scored)[0].outputs[0].logprobs or ()) == 9
    with pytest.raises(UserError, match="detokenize must be true where there are stop strings"):
        SamplingParams(stop="a", detokenize=False)
