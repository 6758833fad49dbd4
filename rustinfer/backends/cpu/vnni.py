"""A third back end, `vnni`: the products of `cpu` with activations of 8 bits, by the dot products of AVX-512 VNNI.

A weight that is kept in 4 or 8 bits meets rows of bfloat16 that are rounded to 8 bits, with a scale for each 32 columns
of a row. llama.cpp does so with every Q4 and Q8 file. Here four columns of a block that are far larger than its others
have 12 bits, where that spares the row much of its error: two fifths of it are left (docs/notes/cpu-step.md). It is
quicker than the 16 bits of `cpu`, to which `--pin linear=cpu` and `--prefer cpu` go back. Rows are rounded one by
one and integers add up exactly, so neighbours change nothing here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from rustinfer import ops
from rustinfer.registry import Backend, Kernel, PackedWeight
from rustinfer.registry.op import Function

from .backend import PRODUCT, cpu
from .library import library, missing
from .plan import EIGHT

PRODUCTS = (
    ops.linear, ops.lm_head, ops.gate_up_silu, ops.norm_gate_up_silu,
    ops.qkv_rope_write, ops.norm_qkv_rope_write, ops.decode_step,
)  # fmt: skip


def _missing() -> str | None:
    return missing() or (None if library().ri_has_integers() else "this CPU has no AVX-512 VNNI")


vnni = Backend("vnni", requires=replace(PRODUCT, dtypes=frozenset({torch.bfloat16})), available=_missing)


def _rounding(former: Kernel) -> Kernel:
    """The kernel of `cpu` with rows of 8 bits."""

    def build(*given: Any, **bound: Any) -> Function:
        token = EIGHT.set(True)
        try:
            call: Function = former.build(*given, **bound)
            return call
        finally:
            EIGHT.reset(token)

    def when(bound: Mapping[str, Any]) -> str | None:
        weight = bound["decoder"]["layers"][0]["qkv"] if "decoder" in bound else bound["weight"]
        return former.when(bound) if isinstance(weight, PackedWeight) else "is for packed weights"

    needs = replace(former.requires, dtypes=vnni.requires.dtypes)
    return replace(former, backend=vnni.name, build=build, requires=needs, when=when)


for _op in PRODUCTS:
    vnni.kernels[_op.name] = _rounding(cpu.kernels[_op.name])
