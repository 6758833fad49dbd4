"""Attention of decoding rows on a CPU: `python -m benchmarks.attention_rows [--beside KERNELS] [--out FILE]`.

A step's attention of the default model on one thread: 30 layers, bfloat16, a context of 160, pages in no order. Keys
and values lie in a core's own cache (one layer again and again) or in memory (3 MB are read between layers, as weights
are). KERNELS is another tree's folder of sources: its kernels take turns with ours. The least of many rounds, in ms.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rustinfer.backends.cpu.attention import Shape
from rustinfer.backends.cpu.compiler import SOURCES, compiled, find_compiler
from rustinfer.backends.cpu.library import SIGNATURES, TYPES, library
from rustinfer.cli.facts import save

LAYERS, HEADS, KV_HEADS, DIM, PAGE, CONTEXT = 30, 9, 3, 64, 16, 160
WEIGHTS = 3 << 20
Attention = Callable[..., None]


def loaded(sources: Path) -> Attention:
    """`ri_attention` of these sources, on the calling thread alone."""
    compiler = find_compiler()
    assert compiler, "needs a C++ compiler"
    call = ctypes.CDLL(str(compiled(compiler, sources))).ri_attention
    call.argtypes, call.restype = [TYPES[kind] for kind in SIGNATURES["ri_attention"]], None
    found: Attention = call
    return found


def step(attend: Attention, rows: int, caches: torch.Tensor, pages: torch.Tensor, weights: torch.Tensor) -> float:
    """Seconds in attention of all layers; `weights` (may be empty) are read in between, outside of the clock."""
    q, out = torch.randn(2, rows, HEADS, DIM).bfloat16()
    starts = torch.arange(rows + 1, dtype=torch.int32)
    lengths = torch.full((rows,), CONTEXT, dtype=torch.int32)
    shape, spent = Shape(1, 0, False, DIM**-0.5), 0.0
    for layer in range(LAYERS):
        weights[layer * WEIGHTS : (layer + 1) * WEIGHTS].sum()
        k, v = caches[layer * 2 % len(caches) :][:2]
        start = time.perf_counter()
        attend(
            ctypes.addressof(shape), q.data_ptr(), HEADS * DIM, DIM, k.data_ptr(), v.data_ptr(),
            starts.data_ptr(), lengths.data_ptr(), pages.data_ptr(), pages.shape[1], rows, rows,
            HEADS, KV_HEADS, DIM, PAGE, out.data_ptr(),
        )  # fmt: skip
        spent += time.perf_counter() - start
    return spent


def measured(kernels: dict[str, Attention], rows: int, cold: bool, rounds: int) -> dict[str, float]:
    """Each tree's least, in milliseconds."""
    pages = torch.randperm(rows * CONTEXT // PAGE).int().view(rows, -1)
    count = 2 * LAYERS if cold else 2
    caches = torch.empty(count, pages.numel(), KV_HEADS, PAGE, DIM, dtype=torch.bfloat16)
    library().ri_large_pages(caches.data_ptr(), caches.nbytes)
    caches.normal_()
    weights = torch.ones(LAYERS * WEIGHTS if cold else 0, dtype=torch.uint8)
    took = [{name: step(call, rows, caches, pages, weights) for name, call in kernels.items()} for _ in range(rounds)]
    return {name: round(min(one[name] for one in took) * 1e3, 3) for name in kernels}


def main() -> None:
    """Print, and perhaps keep, every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", metavar="FILE")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kernels = {"ours": loaded(SOURCES)} | ({"beside": loaded(asked.beside)} if asked.beside else {})
    found = {
        f"{rows} rows, {'in memory' if cold else 'in cache'}": measured(kernels, rows, cold, asked.rounds)
        for rows in (1, 8, 16)
        for cold in (False, True)
    }
    report = {"ms a step": found}
    print(json.dumps(report, indent=1))
    save(asked.out, report)


if __name__ == "__main__":
    main()
