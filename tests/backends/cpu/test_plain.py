"""Products without a compiler: the weight is dequantised once, and the binder finds them when asked."""

from __future__ import annotations

import torch

from rustinfer.backends.cpu.plain import linear, lm_head
from rustinfer.ops import linear as linear_op
from rustinfer.ops import lm_head as lm_head_op
from rustinfer.ops.inputs import Draw
from rustinfer.registry import INT4, Binder, PackedWeight, Policy, Target, load_plugins

CPU = torch.device("cpu")


def weight(dtype: torch.dtype) -> PackedWeight:
    return Draw("plain", dtype, CPU).packed(INT4, 40, 64, 32, zeros="free")


def test_same_as_the_reference(dtype: torch.dtype) -> None:
    w, x, target = weight(dtype), torch.randn(3, 64).to(dtype), Target.of("cpu", dtype)
    bias = torch.randn(40).to(dtype)
    assert torch.equal(linear(target, weight=w, bias=bias)(x), linear_op(x, weight=w, bias=bias))
    rows = torch.tensor([2, 0])
    assert torch.equal(lm_head(target, weight=w)(x, rows), lm_head_op(x, rows, weight=w))


def test_dequantised_once_for_all_bindings(dtype: torch.dtype) -> None:
    w = weight(dtype)
    binder = Binder(load_plugins().registry, Target.of("cpu", dtype), Policy(prefer=("torch",)))
    binder.linear(weight=w)
    assert [b.backend for b in binder.bindings] == ["torch"]
    first, second = linear(binder.target, weight=w), linear(binder.target, weight=w)
    assert first.keywords["weight"] is second.keywords["weight"]


def test_dense_weights_are_left_to_the_reference(dtype: torch.dtype) -> None:
    binder = Binder(load_plugins().registry, Target.of("cpu", dtype), Policy(prefer=("torch",), pins={}))
    chosen = binder.resolve(binder.registry.ops["linear"], weight=torch.randn(4, 8).to(dtype))
    assert chosen.backend != "torch"
    assert ("torch", "is for packed weights; dense ones need no preparation") in chosen.rejected
