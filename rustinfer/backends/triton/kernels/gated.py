"""Gate and up of many rows in one product whose epilogue is the activation: the joint matrix is never written."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .activation import silu
from .common import begin, wait


@triton.jit
def gated_kernel(
    x, w, out, M, tiles,
    HIDDEN: tl.constexpr, K: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, TOGETHER: tl.constexpr, FLATTEN: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """out[m, n] = silu(x[m] . w[n]) * (x[m] . w[HIDDEN + n]), BM x BN a tile; all three described for TMA.

    Programs take tiles in turn, TOGETHER blocks of rows beside each other, so that those share what L2 holds of w.
    """
    begin(PDL)
    wait(PDL)
    COLUMNS: tl.constexpr = (HIDDEN + BN - 1) // BN
    blocks = tl.cdiv(M, BM)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=FLATTEN):
        first = tile // (TOGETHER * COLUMNS) * TOGETHER
        beside = tl.minimum(blocks - first, TOGETHER)
        inside = tile % (TOGETHER * COLUMNS)
        m = (first + inside % beside) * BM
        n = inside // beside * BN
        gate = tl.zeros((BM, BN), tl.float32)
        up = tl.zeros((BM, BN), tl.float32)
        for k in range(0, K, BK):
            rows = x.load([m, k])
            gate = tl.dot(rows, w.load([n, k]).T, gate)
            up = tl.dot(rows, w.load([HIDDEN + n, k]).T, up)
        out.store([m, n], (silu(gate) * up).to(out.dtype))
