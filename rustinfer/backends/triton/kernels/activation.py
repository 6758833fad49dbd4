"""Gated activations, elementwise."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

from .common import begin, wait


@triton.jit
def silu(x):
    """x * sigmoid(x); the exponential may overflow to infinity, which gives 0 as it should."""
    return x / (1.0 + tl.exp(-x))


@triton.jit
def gelu(x):
    """The tanh form, with tanh(y) = 1 - 2 / (exp(2y) + 1), which saturates instead of overflowing."""
    y = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (2.0 - 2.0 / (tl.exp(2.0 * y) + 1.0))


@triton.jit
def gate_mul_kernel(
    x, out, x_row, WIDTH: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr, PDL: tl.constexpr
):  # fmt: skip
    """out[row] = act(x[row, :WIDTH]) * x[row, WIDTH:], a block of columns a program."""
    begin(PDL)
    wait(PDL)
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    gate = tl.load(x + row * x_row + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * x_row + WIDTH + at, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        gate = gelu(gate)
    else:
        gate = silu(gate)
    tl.store(out + row * WIDTH + at, (gate * up).to(out.dtype.element_ty), mask=inside)
