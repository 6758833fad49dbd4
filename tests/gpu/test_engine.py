"""The engine on a GPU: graphs, eager steps and the CPU agree, and a step repeats bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer.engine.build import Loaded, build
from rustinfer.engine.options import Options
from rustinfer.models import Step
from rustinfer.models.dummy import open_shape
from rustinfer.registry import Policy, load_plugins

from ..engine.fakes import Log, request
from ..engine.tiny import checkpoint

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
SIZES = {"max_num_seqs": 8, "max_num_batched_tokens": 64, "kv_cache_tokens": 2048}


def said(loaded: Loaded, count: int, **params: Any) -> dict[str, list[int]]:
    """What `count` requests say that come at once, every third with its own length."""
    log = Log()
    for i in range(count):
        generator = torch.Generator().manual_seed(i)
        prompt = torch.randint(1, 120, (3 + 11 * (i % 3),), generator=generator).tolist()
        asked = {"max_tokens": 24 + i % 3, "ignore_eos": True, "seed": i, **params}
        loaded.engine.add(request(f"{i}", prompt, **asked))
    return {name: tokens for (name, _), tokens in log.drain(loaded.engine).tokens.items()}


@pytest.fixture(scope="module")
def engines() -> dict[str, Loaded]:
    """The tiny model in float32: with graphs, without, and on the CPU."""
    made = {}
    for name, options in (("graphs", {}), ("eager", {"enforce_eager": True}), ("cpu", {"device": "cpu"})):
        device = options.get("device", "cuda")
        weights = {key: weight.to(device) for key, weight in checkpoint().weights.items()}
        made[name] = build(
            replace(checkpoint(), weights=weights), Options(**{"device": device, **SIZES, **options}), load_plugins()
        )
        while made[name].engine.do_chore():  # the graphs that are left for when nobody asks
            pass
    return made


@pytest.mark.parametrize(
    "params",
    [{}, {"temperature": 0.9, "top_k": 20, "top_p": 0.9}, {"logprobs": 2}, {"repetition_penalty": 1.2}],
    ids=str,
)
def test_graphs_eager_steps_and_the_cpu_say_the_same(params: dict[str, Any], engines: dict[str, Loaded]) -> None:
    wanted = said(engines["cpu"], 20, **params)
    assert said(engines["graphs"], 20, **params) == wanted
    assert said(engines["eager"], 20, **params) == wanted
    assert engines["graphs"].engine.cache.available == engines["graphs"].engine.cache.pool.total


def test_decode_steps_are_graphs_and_the_references_are_not_on_the_gpu(engines: dict[str, Loaded]) -> None:
    runner: Any = engines["graphs"].engine.runner
    assert [step.rows for step in runner.decodes] == [1, 2, 4, 8]
    assert all(step._graphs for step in runner.decodes)
    assert not any(step._graphs for step in engines["eager"].engine.runner.decodes)  # type: ignore[attr-defined]
    slow = {b.op.name for b in engines["graphs"].bindings if b.backend == "reference" and not b.op.composition}
    assert not slow & {"linear", "attention", "lm_head", "advance", "argmax", "sample", "embedding"}


def test_numbers_that_are_not_finite_fail_alone(engines: dict[str, Loaded]) -> None:
    made = checkpoint(tie_word_embeddings=False)
    head = made.weights["model.embed_tokens.weight"].cuda()
    embedding = head.clone()
    embedding[125] = torch.nan
    weights = {k: w.cuda() for k, w in made.weights.items()}
    weights |= {"lm_head.weight": head, "model.embed_tokens.weight": embedding}
    loaded = build(replace(made, weights=weights), Options(device="cuda", **SIZES), load_plugins())
    for i in range(6):
        loaded.engine.add(request(f"{i}", [5, 6, 7, *([125] if i % 2 else [])], max_tokens=9, ignore_eos=True))
    log = Log().drain(loaded.engine)
    assert set(log.failed) == {"1", "3", "5"}
    assert {f.code for f in log.failed.values()} == {"numerical_error"}
    wanted = said_by(engines["cpu"], [5, 6, 7], 9)
    assert 125 not in wanted
    assert all(log.tokens[f"{i}", 0] == wanted for i in (0, 2, 4))


def said_by(loaded: Loaded, prompt: list[int], tokens: int) -> list[int]:
    loaded.engine.add(request("one", prompt, max_tokens=tokens, ignore_eos=True))
    return Log().drain(loaded.engine).tokens["one", 0]


@pytest.fixture(scope="module")
def large() -> Loaded:
    """Llama 3.2 1B of random weights in bfloat16."""
    options = Options(device="cuda", max_num_seqs=32, max_model_len=2048, kv_cache_tokens=65536)
    made = build(open_shape("llama-3.2-1b", torch.bfloat16, torch.device("cuda")), options, load_plugins())
    while made.engine.do_chore():  # the graphs that are left for when nobody asks
        pass
    return made


def test_the_large_model_says_what_float32_says_where_that_is_sure(large: Loaded) -> None:
    prompt = torch.randint(10, 120000, (60,), generator=torch.Generator().manual_seed(5)).tolist()
    said = said_by(large, prompt, 40)
    scores = exact_logits([*prompt, *said])[len(prompt) - 1 : -1]
    best = scores.topk(2)
    sure = (best.values[:, 0] - best.values[:, 1]) > 0.12 * scores.std()
    assert sure.sum() > 10
    assert (best.indices[:, 0] == torch.tensor(said, device="cuda"))[sure].all()


@torch.inference_mode()
def exact_logits(tokens: list[int]) -> torch.Tensor:
    """The logits of every row in float32, by the references, from the same weights."""
    from rustinfer.models import Parameters
    from rustinfer.models.llama import Llama
    from rustinfer.registry import Binder, Target

    made = open_shape("llama-3.2-1b", torch.bfloat16, torch.device("cuda"))
    weights = {name: made.weights[name].float() for name in made.weights}
    registry, target = load_plugins().registry, Target.of("cuda", torch.float32)
    count = len(tokens)
    shape = (-(-count // 16), made.config.kv_heads, 16, made.config.head_dim)
    cache = [(torch.zeros(shape, device="cuda"), torch.zeros(shape, device="cuda")) for _ in range(made.config.layers)]
    binder = Binder(registry, target, Policy(pins=dict.fromkeys(registry.ops, "reference")))
    model = Llama(replace(made.config, context=2048), binder, Parameters(weights), cache)
    at = torch.arange(count, device="cuda")
    starts = torch.tensor([0, count], dtype=torch.int32, device="cuda")
    pages = torch.arange(shape[0], dtype=torch.int32, device="cuda")[None]
    step = Step(torch.tensor(tokens, device="cuda"), at, at, starts, starts[1:], pages)
    return model.logits(model.forward(step), at)


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 7, 32])
def test_a_thousand_repeats_of_a_step_are_identical(count: int, large: Loaded) -> None:
    runner: Any = large.engine.runner
    for i in range(count):
        large.engine.add(request(f"{i}", [i + 1] * (20 + i), max_tokens=8, ignore_eos=True))
    for _ in range(4):
        large.engine.step()
    torch.cuda.synchronize()
    lanes = runner.lanes
    step = next(decode for decode in runner.decodes if decode.rows >= lanes.count)
    before = (lanes.position - 1).clamp(min=-1), lanes.drawn.clone()  # the newest position again: it has a page
    first, differing = None, torch.zeros((), dtype=torch.int64, device="cuda")
    allocated = torch.cuda.memory_allocated()
    for _ in range(1000):
        lanes.position.copy_(before[0])
        lanes.drawn.copy_(before[1])
        logits, drawing = step.forward(lanes.count, lanes.width(lanes.rows))
        step.tell(logits, drawing, True)
        if first is None:
            first, allocated = logits[:count].clone(), torch.cuda.memory_allocated()
        differing += (logits[:count] != first).sum()
    assert differing.item() == 0
    assert torch.cuda.memory_allocated() <= allocated + 4096
    lanes.position.copy_(before[0] + (before[0] >= 0))
    Log().drain(large.engine)
