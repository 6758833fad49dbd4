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
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, TOGETHER: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    """out[m, n] = silu(x[m] . w[0, n]) * (x[m] . w[1, n]), BM x BN a tile; all three described for TMA.

    Gate and up are one product of 2 BN outputs, which shares what is read of x. Programs take tiles in turn, TOGETHER
    blocks of rows beside each other, so that those share what L2 holds of w; the next tile's operands are on their way
    while one is written.
    """
    begin(PDL)
    wait(PDL)
    COLUMNS: tl.constexpr = (HIDDEN + BN - 1) // BN
    blocks = tl.cdiv(M, BM)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        first = tile // (TOGETHER * COLUMNS) * TOGETHER
        beside = tl.minimum(blocks - first, TOGETHER)
        inside = tile % (TOGETHER * COLUMNS)
        m = (first + inside % beside) * BM
        n = inside // beside * BN
        both = tl.zeros((BM, 2 * BN), tl.float32)
        for k in range(0, K, BK):
            both = tl.dot(x.load([m, k]), tl.reshape(w.load([0, n, k]), (2 * BN, BK)).T, both)
        gate, up = tl.split(tl.permute(tl.reshape(both, (BM, 2, BN)), (0, 2, 1)))
        out.store([m, n], (silu(gate) * up).to(out.dtype))
