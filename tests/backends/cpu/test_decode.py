"""The decoder stack in one call gives the very numbers of its parts, also with packed weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from rustinfer.backends.cpu import vnni
from rustinfer.backends.cpu.library import missing
from rustinfer.ops.decode_cases import Stack
from rustinfer.ops.inputs import Draw
from rustinfer.registry import INT4, INT8, Binder, Policy, Target, Weight, load_plugins

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Packed(Stack):
    """A stack whose matrices are packed."""

    def weights(self, d: Draw) -> dict[str, Any]:
        made = super().weights(d)["decoder"]

        def packed(weight: Weight) -> Weight:
            form = INT4 if weight.shape[0] % 64 else INT8
            return d.packed(form, *weight.shape, 32, zeros="free" if form is INT4 else "")

        for layer in made["layers"]:
            layer |= {name: packed(layer[name]) for name in ("qkv", "out", "gate_up", "down")}
        table = {name: d.packed(INT4, *made[name].shape, 32, zeros="free") for name in ("embedding", "head")}
        return {"decoder": {**made, **table}}


def bound(stack: Stack, dtype: torch.dtype, rows: int = 64, **policy: Any) -> tuple[Binder, Any, tuple[Any, ...]]:
    if reason := missing():
        pytest.skip(reason)
    d = Draw(str(stack), dtype, CPU)
    ops = Binder(load_plugins().registry, Target.of("cpu", dtype).decoding(rows), Policy(**policy))
    weights = stack.weights(d)
    return ops, ops.decode_step(**weights), stack.flow(d)


@pytest.mark.parametrize(
    "stack",
    [
        Packed((1,)),
        Packed((5, 64, 0, 130, 16), 128, 64, 8, 2, 64, 3),
        Packed((300, 20), 576, 256, 9, 3, 64, 2, bias=True),
        Packed(tuple(range(1, 40)), 64, 96, window=8),
        Stack((9, 33), 96, 160, 4, 4, 32, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("prefer", [(), ("cpu",)], ids=["", "cpu"])
def test_bit_for_bit_the_numbers_of_its_parts(stack: Stack, dtype: torch.dtype, prefer: tuple[str, ...]) -> None:
    gave = {}
    rounds = isinstance(stack, Packed) and dtype is torch.bfloat16 and not prefer and vnni.missing() is None
    for pins in ({}, {"decode_step": "reference"}):
        ops, call, flow = bound(stack, dtype, pins=pins, prefer=prefer)
        assert ops.bindings[-1].backend == pins.get("decode_step", "vnni" if rounds else "cpu")
        gave[bool(pins)] = (call(*flow), flow[-1])
    assert torch.equal(gave[True][0], gave[False][0])
    assert all(torch.equal(a, b) for a, b in zip(sum(gave[True][1], ()), sum(gave[False][1], ()), strict=True))


def test_other_caches_are_noticed(dtype: torch.dtype) -> None:
    _, call, (*places, caches) = bound(Packed((3, 20)), dtype)
    others = [(torch.zeros_like(k), torch.zeros_like(v)) for k, v in caches]
    first, before = call(*places, caches), [k.clone() for k, _ in caches]
    assert not torch.equal(call(*places, others), first)
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, caches, strict=True))
    assert any(k.any() for k, _ in others)
    assert torch.equal(call(*places, caches), first)


def test_weights_that_it_cannot_read_are_named(dtype: torch.dtype) -> None:
    d = Draw("refused", dtype, CPU)
    weights = Packed((3,)).weights(d)
    weights["decoder"]["layers"][1]["down"] = d.packed(INT8, 64, 96, 16)
    ops = Binder(load_plugins().registry, Target.of("cpu", dtype).decoding(4))
    binding = ops.resolve(ops.registry.ops["decode_step"], **weights)
    assert dict(binding.rejected)["cpu"].startswith("reads packed weights in groups of a multiple of 32 columns")
