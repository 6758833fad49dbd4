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
