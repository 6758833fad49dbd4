from __future__ import annotations

import random

import pytest

from rustinfer.text import TextError, TextStream, Tokenizer

from .vocabularies import TEXTS, byte_level, sentencepiece

LEVEL = Tokenizer(byte_level())
PIECE = Tokenizer(sentencepiece())


def streamed(stream: TextStream, ids: list[int], step: int = 1) -> str:
    parts = [stream.push(ids[at : at + step]).text for at in range(0, len(ids), step)]
    return "".join(parts) + stream.finish()


@pytest.mark.parametrize("step", [1, 2, 100])
@pytest.mark.parametrize("text", TEXTS)
def test_the_stream_is_the_decoded_text(text: str, step: int) -> None:
    ids = LEVEL.encode(text)
    assert streamed(TextStream(LEVEL), ids, step) == LEVEL.decode(ids)
    assert streamed(TextStream(LEVEL, skip_special_tokens=False), ids, step) == LEVEL.decode(ids, False)


@pytest.mark.parametrize("seed", range(30))
def test_any_tokens_at_all_stream_as_they_decode(seed: int) -> None:
    ids = random.Random(seed).choices(range(LEVEL.vocab_size + 3), k=40)
    assert streamed(TextStream(LEVEL), ids) == LEVEL.decode(ids)


def test_half_a_code_point_waits_for_its_rest() -> None:
    ids = [LEVEL.find(c) or 0 for c in "ðŁĺĢ"]  # the four bytes of U+1F600 as single tokens
    stream = TextStream(LEVEL)
    assert [stream.push([i]).text for i in ids] == ["", "", "", "😀"]
    cut = TextStream(LEVEL)
    assert cut.push(ids[:2]).text == ""
    assert cut.finish() == "\ufffd"
    assert cut.finish() == ""


def test_the_space_before_a_continuation_is_kept() -> None:
    ids = PIECE.encode("Hello Hello", add_special_tokens=False)
    assert streamed(TextStream(PIECE), ids) == " Hello Hello"


def test_a_stop_string_never_leaks() -> None:
    ids = LEVEL.encode("one two STOP three", False)
    stream = TextStream(LEVEL, stop=["STOP"])
    parts = [stream.push([i]) for i in ids]
    assert "".join(part.text for part in parts) + stream.finish() == "one two "
    assert stream.stopped == parts[-1].stopped == "STOP"
    assert [part.tokens for part in parts].count(0) > 0


def test_what_only_may_be_a_stop_string_is_held_and_then_given() -> None:
    stream = TextStream(LEVEL, stop=["abcd", "bx"])
    texts = [stream.push(LEVEL.encode(c, False)).text for c in "zabcx"]
    assert texts == ["z", "", "", "", "abcx"]
    tail = TextStream(LEVEL, stop=["abcd"])
    assert tail.push(LEVEL.encode("zab", False)).text == "z"
    assert tail.finish() == "ab"


@pytest.mark.parametrize("length", range(1, 9))
def test_a_beginning_of_any_length_is_held(length: int) -> None:
    word = "two words"
    stream = TextStream(LEVEL, stop=[word[-length:] + "!" * (9 - length)])
    assert stream.push([LEVEL.find(word) or 0]).text == word[:-length]
    assert stream.finish() == word[-length:]


def test_the_stop_string_can_be_included() -> None:
    stream = TextStream(LEVEL, stop=["STOP"], include_stop=True)
    assert streamed(stream, LEVEL.encode("one STOP two", False)) == "one STOP"


def test_the_first_to_begin_wins_and_of_those_the_longest() -> None:
    ids = [LEVEL.find("two words") or 0]
    for stop, kept, met in [(["words", "o w"], "tw", "o w"), (["tw", "two"], "", "two"), (["s"], "two word", "s")]:
        delta = TextStream(LEVEL, stop=stop).push(ids)
        assert (delta.text, delta.stopped, delta.tokens) == (kept, met, 1)


@pytest.mark.parametrize("stop", [["\n"], ["ab"], ["b", "aba"], ["bab", "abb"]])
def test_the_cut_into_pushes_does_not_matter(stop: list[str]) -> None:
    dice = random.Random(7)
    for _ in range(50):
        ids = [LEVEL.find(dice.choice("abĊ")) or 0 for _ in range(12)]
        results = set()
        for step in (1, 2, 5, 12):
            stream = TextStream(LEVEL, stop=stop)
            used, text = 0, ""
            for at in range(0, 12, step):
                delta = stream.push(ids[at : at + step])
                used, text = used + delta.tokens, text + delta.text
            results.add((text + stream.finish(), stream.stopped, used))
        whole = LEVEL.decode(ids)
        first = min((whole.find(s) for s in stop if s in whole), default=len(whole))
        assert len(results) == 1
        assert next(iter(results))[0] == whole[:first] or len(stop) > 1


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(TextError, match="must not be empty"):
        TextStream(LEVEL, stop=["a", ""])


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize(
    ("least", "text"),
    [(0, "a"), (2, "a"), (3, "ab.c"), (4, "ab.c"), (5, "ab.c.d"), (6, "ab.c.d"), (7, "ab.c.d"), (8, "ab.c.d..")],
)
def test_stop_strings_do_not_count_within_the_tokens_that_there_must_be(least: int, text: str, step: int) -> None:
    ids = [LEVEL.find(c) or 0 for c in "ab.c.d.."]
    stop = ["b.", ".."] if least < 3 else ["b.", ".", ".."]
    assert streamed(TextStream(LEVEL, stop=stop, min_tokens=least), ids, step) == text


def test_a_stop_string_may_begin_within_them() -> None:
    ids = [LEVEL.find(c) or 0 for c in "abST"] + [LEVEL.find(c) or 0 for c in "OP and on"]
    stream = TextStream(LEVEL, stop=["STOP"], min_tokens=4)
    assert [stream.push([i]).text for i in ids[:5]] == ["a", "b", "", "", ""]
    assert stream.push(ids[5:6]).stopped == "STOP"
