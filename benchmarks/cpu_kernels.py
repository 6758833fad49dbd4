"""Time the CPU kernels at the shapes of a model: `python benchmarks/cpu_kernels.py [--dtype float32] [--threads 2]`.

Prints microseconds (least of many repeats), GB/s of weights or cache read, and GFLOP/s; then what the sums of them
allow: tokens a second in decode at batch 1, and in a prefill. Every call is through the binder, as a model's is.
Weights cycle through copies, so that none is found in a core's own cache. On one thread it counts processor time, which
the load of other programs does not stretch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from rustinfer.backends.cpu import set_threads
from rustinfer.registry import INT4, INT8, Binder, Format, PackedWeight, Policy, Target, Weight, load_plugins

Call = Callable[[], Any]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Shapes:
    """The sizes that matter of a Llama-like model."""

    width: int = 576
    hidden: int = 1536
    layers: int = 30
    heads: int = 9
    kv_heads: int = 3
    dim: int = 64
    vocab: int = 49152


def packed(format: Format, rows: int, columns: int, dtype: torch.dtype, group: int = 32) -> PackedWeight:
    """Random integers with small scales; int4 has zeros, as Q4_1 does."""
    kind, width = (torch.uint8, columns // 2) if format is INT4 else (torch.int8, columns)
    data = torch.randint(0, 127, (rows, width)).to(kind)
    scales = torch.rand(rows, columns // group).half() * 0.01
    zeros = -8 * scales if format is INT4 else None
    return PackedWeight(format, data, scales, zeros, group, torch.Size((rows, columns)), dtype)


def least(calls: Sequence[Call], seconds: float, clock: Clock) -> float:
    """The shortest of many calls, in seconds; the calls take turns, so that none finds its weights in a cache."""
    turns = cycle(calls)
    for _ in calls:
        next(turns)()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        call = next(turns)
        start = clock()
        call()
        took = clock() - start
        best = min(best, took) if took > 0 else best  # some machines' processor time moves in steps
    return best


class Bench:
    """One dtype on one number of threads."""

    def __init__(self, dtype: torch.dtype, policy: Policy, seconds: float, clock: Clock) -> None:
        self.binder = Binder(load_plugins().registry, Target.of("cpu", dtype), policy)
        self.dtype, self.seconds, self.clock, self.shapes = dtype, seconds, clock, Shapes()
        pages, shapes = 64, self.shapes
        self.caches = [self.normal(pages, shapes.kv_heads, 16, shapes.dim) for _ in range(2)]
        self.table = [torch.rand(2048, shapes.dim // 2) for _ in range(2)]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape).to(self.dtype)

    def show(self, name: str, calls: Sequence[Call], read: float, flops: float) -> float:
        """Time, print, and return seconds."""
        took = least(calls, self.seconds, self.clock)
        print(f"{name:44} {took * 1e6:10.1f} us {read / took / 1e9:8.1f} GB/s {flops / took / 1e9:8.1f} GFLOP/s")
        return took

    def product(
        self, name: str, bind: Callable[[Weight], Callable[..., Any]], weights: Sequence[Weight], flow: tuple[Any, ...]
    ) -> float:
        """An op with a weight."""
        calls = [partial(bind(w), *flow) for w in weights]
        rows, columns = weights[0].shape
        return self.show(name, calls, weights[0].nbytes, 2 * flow[0].shape[0] * rows * columns)

    def layer(self, rows: int, length: int, weight: Callable[[int, int], Weight], copies: int) -> float:
        """The five calls of a decoder layer over `rows` new tokens of one sequence that then has `length`."""
        s, b, at = self.shapes, self.binder, f"{rows} rows"
        x, residual = self.normal(rows, s.width), self.normal(rows, s.width)
        positions = torch.arange(length - rows, length)
        norm = self.normal(s.width)
        outputs = (s.heads + 2 * s.kv_heads) * s.dim
        rotary = {"cos": self.table[0], "sin": self.table[1], "heads": s.heads, "kv_heads": s.kv_heads}
        total = self.product(
            f"norm_qkv_rope_write, {at}",
            lambda w: b.norm_qkv_rope_write(norm=norm, eps=1e-5, weight=w, **rotary),
            [weight(outputs, s.width) for _ in range(copies)],
            (x, residual, positions, positions, *self.caches),
        )
        total += self.attention(rows, length)
        mixed, hidden = self.normal(rows, s.heads * s.dim), self.normal(rows, s.hidden)
        out = [weight(s.width, s.heads * s.dim) for _ in range(copies)]
        total += self.product(f"linear (attention out), {at}", lambda w: b.linear(weight=w), out, (mixed,))
        total += self.product(
            f"norm_gate_up_silu, {at}",
            lambda w: b.norm_gate_up_silu(norm=norm, eps=1e-5, weight=w),
            [weight(2 * s.hidden, s.width) for _ in range(copies)],
            (x, residual),
        )
        down = [weight(s.width, s.hidden) for _ in range(copies)]
        return total + self.product(f"linear (down), {at}", lambda w: b.linear(weight=w), down, (hidden,))

    def attention(self, rows: int, length: int) -> float:
        s = self.shapes
        call = self.binder.attention(scale=s.dim**-0.5)
        q = self.normal(rows, s.heads, s.dim)
        starts, lengths = torch.tensor([0, rows], dtype=torch.int32), torch.tensor([length], dtype=torch.int32)
        pages = torch.arange(64, dtype=torch.int32)[None]
        seen = rows * length - rows * (rows - 1) // 2
        flops, read = 4 * seen * s.heads * s.dim, 2 * length * s.kv_heads * s.dim * self.dtype.itemsize
        return self.show(
            f"attention, {rows} rows over {length}",
            [lambda: call(q, *self.caches, starts, lengths, pages)],
            read,
            flops,
        )

    def rest(self, rows: int, head: Weight) -> float:
        """What stands outside the layers, for one sampled row."""
        s, b = self.shapes, self.binder
        embed = b.embedding(weight=head)
        tokens = torch.randint(0, s.vocab, (rows,))
        total = self.show(f"embedding, {rows} rows", [lambda: embed(tokens)], 0, 0)
        hidden = self.normal(rows, s.width)
        norm = b.add_rms_norm(weight=self.normal(s.width), eps=1e-5)
        total += self.show(f"add_rms_norm, {rows} rows", [lambda: norm(hidden, hidden)], 0, 0)
        project, picked = b.lm_head(weight=head), torch.tensor([rows - 1])
        total += self.show("lm_head, 1 row", [lambda: project(hidden, picked)], head.nbytes, 2 * s.vocab * s.width)
        return total

    def choosing(self) -> float:
        """argmax, and sampling in its forms; returns argmax's time."""
        s, b = self.shapes, self.binder
        logits, one = torch.randn(1, s.vocab) * 3, torch.ones(1)
        call, seed = b.argmax(), torch.zeros(1, dtype=torch.int64)
        took = self.show("argmax", [lambda: call(logits)], 0, 0)
        draw = b.sample()
        for name, k, p in (("sample, plain", 0, 1.0), ("sample, top-k 50", 50, 1.0), ("sample, top-p 0.95", 0, 0.95)):
            flow = (logits, one, seed + k, one * p, one * 0, seed, seed)
            self.show(name, [lambda flow=flow: draw(*flow)], 0, 0)
        return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--threads", type=int, default=0, help="default: one a physical core")
    parser.add_argument("--prefer", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=0.5, help="spent on each line")
    parser.add_argument("--length", type=int, default=256, help="positions in the cache while decoding")
    parser.add_argument("--dense", action="store_true", help="dense weights instead of int4 with an int8 head")
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    threads = given.threads or torch.get_num_threads()
    set_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    bench = Bench(dtype, Policy(prefer=tuple(given.prefer)), given.seconds, clock)
    print(f"{given.dtype}, {threads} threads, {'processor' if threads == 1 else 'elapsed'} time")
    dense = lambda n, k: (torch.randn(n, k) * k**-0.5).to(dtype)  # noqa: E731
    weight = dense if given.dense else lambda n, k: packed(INT4, n, k, dtype)
    head = dense(49152, 576) if given.dense else packed(INT8, 49152, 576, dtype)
    layers = bench.shapes.layers
    choose = bench.choosing()
    token = layers * bench.layer(1, given.length, weight, 24) + bench.rest(1, head) + choose
    for rows in (4, 8, 16):
        bench.layer(rows, given.length, weight, 8)
    prompt = layers * bench.layer(512, 512, weight, 2) + bench.rest(512, head) + choose
    print(f"decode at batch 1, {given.length} cached: {token * 1e3:.2f} ms a token, {1 / token:.0f} tokens/s")
    print(f"prefill of 512: {prompt * 1e3:.1f} ms, {512 / prompt:.0f} tokens/s")


if __name__ == "__main__":
    main()
