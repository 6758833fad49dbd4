"""The Numba back end: conformance, its refusals, and a model that runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rustinfer import ops
from rustinfer.models import Llama, Parameters
from rustinfer.models.config import ModelConfig
from rustinfer.models.dummy import DummyWeights
from rustinfer.ops.inputs import Draw
from rustinfer.registry import (
    FP8,
    INT4,
    INT8,
    Binder,
    NoKernelError,
    PackedWeight,
    Policy,
    Registry,
    Target,
    load_plugins,
)

from .site import python
from .test_qwen3 import run

pytest.importorskip("numba")
CPU = torch.device("cpu")
DECODE = Target(CPU, torch.bfloat16).decoding(4)
MIXED = Target(CPU, torch.bfloat16)
DRAW = Draw("numba", torch.bfloat16, CPU)


@pytest.fixture
def registry(installed: Path) -> Registry:
    return load_plugins().registry


def bind(registry: Registry, target: Target, name: str, **bound: Any) -> Any:
    return Binder(registry, target, Policy(pins={name: "numba"})).bind(registry.ops[name], **bound)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_conforms(site: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--pyargs", "rustinfer.testing.suite", "--backend", "numba"]
    suite = python(site, "-m", "pytest", *options, OMP_NUM_THREADS="1")
    assert suite.returncode == 0, suite.stdout[-4000:]


def test_every_kernel_runs_some_case_in_both_dtypes(registry: Registry) -> None:
    from rustinfer.testing.points import points

    ran = {(point.kernel.op.name, point.dtype) for point in points(registry.backends["numba"]) if not point.refusal()}
    names = {"add_rms_norm", "attention", "gelu_mul", "linear", "lm_head", "rms_norm", "rope", "silu_mul", "write_kv"}
    assert ran == {(name, dtype) for name in names for dtype in (torch.float32, torch.bfloat16)}


@pytest.mark.parametrize(
    ("name", "target", "bound", "reason"),
    [
        ("silu_mul", Target(CPU, torch.float16), {}, "computes in bfloat16, float32, not in float16"),
        ("linear", DECODE, {"weight": DRAW.weight(8, 32)}, "this one is dense"),
        ("linear", DECODE, {"weight": DRAW.packed(FP8, 8, 64, 32)}, "reads int4 and int8 weights, not fp8"),
        ("lm_head", MIXED, {"weight": DRAW.packed(INT4, 8, 64, 32)}, "takes at most 64 rows, the binding asks for any"),
        ("attention", MIXED, {"scale": 1.0}, "takes one row per sequence, the binding is for mixed steps"),
    ],
)
def test_what_it_cannot_do_it_says(
    registry: Registry, name: str, target: Target, bound: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NoKernelError, match=reason):
        bind(registry, target, name, **bound)


def test_without_numba_it_says_what_to_install(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    import rustinfer_numba.backend

    monkeypatch.setattr(rustinfer_numba.backend, "find_spec", lambda name: None)
    with pytest.raises(NoKernelError, match="numba is not installed: pip install numba"):
        bind(registry, MIXED, "silu_mul")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("format", [INT4, INT8])
def test_products_agree_at_any_thread_count(registry: Registry, threads: int, format: Any) -> None:
    weight, x = DRAW.packed(format, 5, 64, 32, zeros="free"), DRAW.normal(3, 64)  # 5 rows do not divide by 2
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = bind(registry, DECODE, "linear", weight=weight)(x)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(got, ops.linear(x, weight=weight), rtol=2e-2, atol=2e-2)


def test_attention_on_two_threads_conforms(registry: Registry) -> None:
    from rustinfer.testing.points import points

    mine = [point for point in points(registry.backends["numba"]) if point.kernel.op.name == "attention"]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        tested = [point.test() for point in mine if not point.refusal()]
    finally:
        torch.set_num_threads(before)
    assert tested


def test_two_wirings_share_one_set_of_scales(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    import rustinfer_numba.linear

    made: list[PackedWeight] = []
    scales = rustinfer_numba.linear._scales
    monkeypatch.setattr(rustinfer_numba.linear, "_scales", lambda weight: (made.append(weight), scales(weight))[1])
    weight = DRAW.packed(INT4, 8, 64, 32)
    for rows in (1, 8):
        bind(registry, MIXED.decoding(rows), "linear", weight=weight)
    assert made == [weight]


@pytest.mark.parametrize("width", [0.0, float("nan"), float("inf"), 3.4e38])
def test_bfloat16_is_read_and_rounded_as_torch_does(installed: Path, width: float) -> None:
    from rustinfer_numba.jit import narrow, widen

    x = torch.cat([torch.tensor([width, -width]), torch.randn(1000, generator=torch.Generator().manual_seed(0))])
    bits = [int(narrow(value)) for value in x.numpy()]
    want = x.bfloat16()
    torch.testing.assert_close(
        torch.tensor([float(widen(b)) for b in bits]), want.float(), rtol=0, atol=0, equal_nan=True
    )


def test_a_model_prefers_it_and_answers_the_same(registry: Registry) -> None:
    shape = {
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = ModelConfig.from_dict({**shape, "max_position_embeddings": 128, "architectures": ["LlamaForCausalLM"]})
    del registry.backends["cpu"]  # its kernels for fused ops would be chosen before kernels of the parts
    weights = Parameters(DummyWeights(config, torch.float32, CPU))
    tokens = torch.randint(0, 97, (20,), generator=torch.Generator().manual_seed(1))
    answers = []
    for policy in (Policy(prefer=("numba",)), Policy(pins=dict.fromkeys(registry.ops, "reference"))):
        binder = Binder(registry, Target(CPU, torch.float32), policy)
        cache = [(torch.zeros(8, 4, 16, 16), torch.zeros(8, 4, 16, 16)) for _ in range(config.layers)]
        answers.append(run(Llama(config, binder, weights, cache), tokens, [20]))
        if policy.prefer:
            assert {b.op.name for b in binder.bindings if b.backend == "numba"} == {
                "add_rms_norm",
                "rope",
                "silu_mul",
                "write_kv",
            }
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-4)
