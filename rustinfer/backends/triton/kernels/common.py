"""Pieces that several kernels share."""

# mypy: ignore-errors
# Triton's language is not typed Python.
from __future__ import annotations

import triton
import triton.language as tl

if hasattr(tl.extra, "cuda"):
    from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def begin(PDL: tl.constexpr):
    """Let the next kernel of the stream be placed as this one's blocks retire; it waits before it reads our output."""
    if PDL:
        gdc_launch_dependents()


@triton.jit
def wait(PDL: tl.constexpr):
    """Until the kernel before this one has finished: only weights may be read earlier."""
    if PDL:
        gdc_wait()


@triton.jit
def last_to_arrive(counter, expected):
    """Whether this program is the last of `expected` to come here; the counter is left at 0 for the next launch.

    What every thread of the others stored before they came is visible to the last.
    """
    tl.debug_barrier()
    seen = tl.atomic_add(counter, 1, sem="acq_rel")
    last = seen == expected - 1
    if last:
        tl.store(counter, 0)
    tl.debug_barrier()
    return last


@triton.jit
def fetch_ahead(w, rows, live, STORED: tl.constexpr):
    """Ask for the weight rows of an early program to be in the L2 cache: before `wait`, the memory is idle anyway.

    STORED is the row length in stored elements. Later programs start when the memory is busy: they ask for nothing.
    """
    ELEMENTS: tl.constexpr = 1024 // w.dtype.element_ty.primitive_bitwidth  # of a line of 128 bytes
    LINES: tl.constexpr = triton.next_power_of_2((STORED + ELEMENTS - 1) // ELEMENTS)
    if tl.program_id(0) < 264:
        at = tl.minimum(tl.arange(0, LINES) * ELEMENTS, STORED - 1)
        place = w + tl.where(live, rows, 0).to(tl.int64)[:, None] * STORED + at[None, :]
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [place.to(tl.int64)],
            dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
