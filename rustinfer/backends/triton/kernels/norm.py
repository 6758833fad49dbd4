"""Root-mean-square normalisation, one program a row; the row may come as the sums of several shares of a product."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def rms_norm_kernel(
    x, residual, weight, bias, out, total, x_row, x_share, residual_row, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr, SHARES: tl.constexpr, BIAS: tl.constexpr,
    PDL: tl.constexpr,
):  # fmt: skip
    """out = norm(x [+ residual]) * weight, rounded where the reference rounds; total = x + residual if ADD.

    x is the sum of SHARES rows, x_share numbers apart, and of the bias.
    """
    begin(PDL)
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    scale = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    added = tl.load(bias + at, mask=inside, other=0.0).to(tl.float32) if BIAS else 0.0
    wait(PDL)
    value = tl.load(x + row * x_row + at, mask=inside, other=0.0).to(tl.float32)
    for share in tl.static_range(1, SHARES):
        value += tl.load(x + share * x_share + row * x_row + at, mask=inside, other=0.0)
    value += added
    if ADD:
        value += tl.load(residual + row * residual_row + at, mask=inside, other=0.0).to(tl.float32)
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + row * WIDTH + at, rounded, mask=inside)
        value = rounded.to(tl.float32)
    inverse = tl.rsqrt(tl.sum(value * value, 0) / WIDTH + eps)
    normed = (value * inverse).to(out.dtype.element_ty).to(tl.float32) * scale
    tl.store(out + row * WIDTH + at, normed.to(out.dtype.element_ty), mask=inside)
