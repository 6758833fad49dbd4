"""On a CPU with AMX, prompts go through oneDNN's product. The unit is feigned here; oneDNN then computes without it."""

from __future__ import annotations

import pytest
import torch

from rustinfer.backends.cpu import amx, vnni
from rustinfer.backends.cpu.library import missing
from rustinfer.ops.inputs import Draw
from rustinfer.registry import INT4, Binder, Target, load_plugins

from .conftest import Bind

WHY = "this CPU has AMX, by which oneDNN multiplies many rows of bfloat16 faster"
CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["amx", "no amx"])
def tiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the CPU is said to have the unit."""
    if reason := missing():
        pytest.skip(reason)
    monkeypatch.setattr(amx, "present", lambda: request.param)
    found: bool = request.param
    return found


def binder(dtype: torch.dtype, *, decode: bool = False) -> Binder:
    target = Target.of("cpu", dtype)
    return Binder(load_plugins().registry, target.decoding(64) if decode else target)


def packed(dtype: torch.dtype) -> str:
    """Whose kernels multiply packed weights where nobody steps aside."""
    return "vnni" if dtype is torch.bfloat16 and vnni.missing() is None else "cpu"


def chosen(ops: Binder) -> dict[str, str]:
    return {b.op.name: b.backend for b in ops.bindings}


def test_prompts_take_the_unit_and_say_why(tiled: bool) -> None:
    ops = binder(torch.bfloat16)
    ops.norm_gate_up_silu(
        norm=torch.ones(64), eps=1e-5, weight=Draw("amx", torch.bfloat16, CPU).packed(INT4, 96, 64, 32)
    )
    if tiled:
        assert chosen(ops) == {
            "add_rms_norm": "cpu",
            "linear": "torch",
            "silu_mul": "cpu",
            "gate_up_silu": "reference",
            "norm_gate_up_silu": "reference",
        }
        assert all(("cpu", WHY) in b.rejected for b in ops.bindings if b.backend != "cpu")
    else:
        assert chosen(ops) == {"norm_gate_up_silu": packed(torch.bfloat16)}


def test_dense_weights_need_no_preparation(tiled: bool) -> None:
    ops = binder(torch.bfloat16)
    ops.linear(weight=Draw("amx", torch.bfloat16, CPU).weight(96, 64))
    assert chosen(ops) == {"linear": "reference" if tiled else "cpu"}  # which is oneDNN's product


def test_decoding_and_float32_stay_where_they_are(tiled: bool) -> None:
    for ops in (binder(torch.bfloat16, decode=True), binder(torch.float32)):
        ops.linear(weight=Draw("amx", ops.target.dtype, CPU).packed(INT4, 96, 64, 32))
        assert chosen(ops) == {"linear": packed(ops.target.dtype)}


def test_the_kernels_own_tests_reach_them(tiled: bool, bind: Bind, dtype: torch.dtype) -> None:
    ops = bind(dtype)
    ops.linear(weight=Draw("amx", dtype, CPU).weight(96, 64))
    assert chosen(ops) == {"linear": "cpu"}


@pytest.mark.parametrize("rows", [1, 31, 130])
def test_both_ways_agree(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing():
        pytest.skip(reason)
    d = Draw(f"agree {rows}", torch.bfloat16, CPU)
    weight, x, residual = d.packed(INT4, 192, 576, 32, zeros="free"), d.normal(rows, 576), d.normal(rows, 576)
    bound = {"norm": d.normal(576), "eps": 1e-5, "weight": weight}
    gave = {}
    for tiled in (True, False):
        monkeypatch.setattr(amx, "present", lambda tiled=tiled: tiled)
        gave[tiled] = binder(torch.bfloat16).norm_gate_up_silu(**bound)(x, residual)
    assert torch.equal(gave[True][1], gave[False][1])
    error = (gave[True][0].float() - gave[False][0].float()).abs().max() / gave[False][0].float().abs().max()
    assert error < 2e-2
    assert error > 0  # two ways indeed
