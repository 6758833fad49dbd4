"""Block shapes of the Triton kernels, tried one by one on real shapes.

Compiling costs a hundred times what running does, so processes first compile all configurations into Triton's cache
(`warm`), and then one process times them alone.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

from rustinfer.backends.triton import attention, matrix, sampling, tuning
from rustinfer.registry import Target

from .graph import Graph, milliseconds
from .sites import Bench, Site
from .world import DEVICE, configuration, registry

Choice = dict[str, int]
Shape = tuple[int, int, int, int, int]  # BR, BK, STAGES, SPLITS, warps


@dataclasses.dataclass(frozen=True)
class Trial:
    """One op of a model, one packing of its weight, one number of rows, one configuration."""

    op: str
    rows: int
    choice: tuple[tuple[str, int], ...]
    packing: str = ""
    model: str = "llama-3.2-1b"

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What competes with each other."""
        return self.model, self.op, self.rows, self.packing

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.key))} " + " ".join(f"{k}={v}" for k, v in self.choice)


def shapes(op: str, rows: int, table: Sequence[Shape], packings: Sequence[str] = ("",), model: str = "llama-3.2-1b"
           ) -> Iterator[Trial]:  # fmt: skip
    """Trials of a product."""
    for packing in packings:
        for br, bk, stages, splits, warps in table:
            choice = {"BR": br, "BK": bk, "STAGES": stages, "SPLITS": splits, "num_warps": warps}
            yield Trial(op, rows, tuple(choice.items()), packing, model)


def many(op: str, rows: int, model: str) -> Iterator[Trial]:
    """Trials of a product of as many rows as a library has had to itself: BM rows a program, too."""
    yield Trial(op, rows, ((LIBRARY, 1),), model=model)
    for bm, br, bk, stages, splits, warps in MANY_ROWS:
        if bm <= rows:
            choice = {"BM": bm, "BR": br, "BK": bk, "STAGES": stages, "SPLITS": splits, "num_warps": warps}
            yield Trial(op, rows, tuple(choice.items()), model=model)


LIBRARY = "library"  # the trial without a choice of ours
EIGHT = ((16, 512, 4, 1, 2), (16, 256, 6, 1, 2), (16, 512, 4, 2, 2), (16, 1024, 2, 1, 4), (32, 256, 4, 4, 4))
WIDE = ((64, 256, 3, 1, 4), (32, 256, 3, 1, 4), (64, 128, 4, 1, 4), (128, 128, 3, 1, 4), (128, 64, 6, 1, 4),
        (128, 128, 4, 1, 8))  # fmt: skip
MANY = ((32, 512, 3, 1, 4), (32, 256, 4, 1, 4), (32, 256, 4, 2, 4), (16, 512, 4, 1, 4), (64, 128, 4, 4, 4))
MANY_DOWN = ((32, 256, 4, 4, 4), (16, 512, 3, 2, 4), (32, 256, 4, 2, 4), (64, 128, 4, 4, 4), (64, 128, 4, 8, 4),
             (64, 256, 3, 4, 4))  # fmt: skip
MANY_ROWS = ((128, 64, 64, 4, 1, 4), (128, 64, 64, 4, 2, 4), (128, 128, 64, 4, 1, 8), (128, 128, 64, 4, 2, 8),
             (128, 128, 64, 4, 4, 8), (256, 64, 64, 4, 1, 8), (256, 64, 64, 4, 2, 8), (256, 128, 64, 3, 1, 8),
             (256, 128, 64, 3, 2, 8), (256, 128, 64, 3, 4, 8), (64, 128, 128, 3, 1, 4))  # fmt: skip
TALL = ((64, 128, 4, 2, 4), (64, 128, 4, 1, 4), (128, 128, 3, 2, 4), (64, 64, 6, 2, 4), (64, 128, 4, 4, 4))
ONE = ((4, 1024, 1, 1, 2), (4, 2048, 1, 1, 4), (4, 4096, 1, 1, 8), (8, 1024, 1, 1, 4), (8, 512, 1, 1, 2),
       (4, 512, 1, 1, 2), (2, 4096, 1, 1, 4), (2, 2048, 1, 1, 2))  # fmt: skip
SOME_PACKED = ((64, 128, 3, 1, 4), (64, 128, 3, 2, 4), (64, 128, 3, 4, 4), (64, 128, 3, 8, 4), (32, 128, 3, 4, 4),
               (64, 64, 4, 2, 4), (128, 128, 2, 2, 8), (128, 64, 3, 2, 4))  # fmt: skip
FEW_SEQUENCES = ((64, 2, 2, 64), (64, 4, 2, 64), (64, 2, 3, 128), (64, 2, 2, 128), (128, 4, 2, 128), (64, 2, 5, 64),
                 (64, 4, 5, 128), (32, 2, 5, 64))  # fmt: skip
SEQUENCES = ((128, 4, 2, 256), (128, 4, 2, 512), (128, 4, 2, 1024), (128, 8, 2, 1024), (128, 4, 5, 1024),
             (64, 4, 2, 1024), (64, 4, 5, 1024), (64, 2, 2, 1024), (64, 2, 5, 1024), (32, 4, 5, 1024),
             (64, 4, 5, 256))  # fmt: skip
PROMPT = ((128, 64, 8, 3), (128, 64, 8, 2), (128, 64, 8, 4), (64, 64, 4, 2), (64, 64, 4, 3), (256, 64, 16, 3),
          (256, 64, 8, 3), (128, 32, 8, 4), (128, 64, 4, 2))  # fmt: skip

SHORT_PROMPT = ((64, 64, 4, 2), (64, 64, 4, 3), (64, 128, 4, 3), (64, 128, 4, 2))


def products() -> Iterator[Trial]:
    """Block shapes of projections, and a library beside them."""
    small, large = "llama-3.2-1b", "llama-3.1-8b"
    for model, rows, narrow, down, wide in (
        (small, 8, EIGHT, EIGHT, WIDE),
        (small, 32, MANY, MANY_DOWN, WIDE),
        (small, 64, TALL, TALL, WIDE[1:]),
        (large, 8, EIGHT, EIGHT, WIDE),
        (large, 64, TALL, TALL, WIDE[1:]),
    ):
        for op, table in (("qkv", narrow), ("o", narrow), ("down", down), ("gate_up", wide)):
            yield Trial(op, rows, ((LIBRARY, 1),), model=model)
            yield from shapes(op, rows, table, model=model)
    for model, rows in ((large, 256), (large, 128), (small, 256), (small, 128)):
        for op in ("qkv", "o", "down", "gate_up"):
            yield from many(op, rows, model)
    for op in ("qkv", "o", "down", "gate_up"):
        yield from shapes(op, 1, ONE, model=large)
    for rows, packings in ((8, ("int4", "int8")), (64, ("int4",))):
        yield from shapes("gate_up", rows, SOME_PACKED, packings)
        yield from shapes("down", rows, SOME_PACKED, packings[:1])


def attentions() -> Iterator[Trial]:
    """Tiles of attention."""
    small, large = "llama-3.2-1b", "llama-3.1-8b"
    for model, rows, table in ((small, 1, FEW_SEQUENCES), (small, 8, FEW_SEQUENCES), (small, 32, SEQUENCES),
                               (small, 64, SEQUENCES), (large, 64, SEQUENCES), (large, 256, SEQUENCES)):  # fmt: skip
        for bn, warps, stages, least in table:
            choice = {"BN": bn, "num_warps": warps, "num_stages": stages, "LEAST": least}
            yield Trial("decode", rows, tuple(choice.items()), model=model)
    long, short = [(small, 2048), (small, 8192), (large, 8192)], [(small, rows) for rows in (256, 512, 768, 1024, 1536)]
    for model, rows in short + long:
        for bm, bn, warps, stages in SHORT_PROMPT if rows < 2048 else PROMPT:
            choice = {"BM": bm, "BN": bn, "num_warps": warps, "num_stages": stages}
            yield Trial("prefill", rows, tuple(choice.items()), model=model)


def trials(wanted: str = "") -> list[Trial]:
    """What to try: everything, or the trials whose names contain a text."""
    return [trial for trial in (*products(), *attentions()) if wanted in str(trial)]


MAKE: dict[str, Callable[[Bench], Site]] = {
    "qkv": lambda b: b.qkv(),
    "o": lambda b: b.linear("o", b.config.width, b.config.width),
    "gate_up": lambda b: b.gate_up(),
    "down": lambda b: b.linear("down", b.config.width, b.config.hidden),
    "head": lambda b: b.head(),
    "decode": lambda b: b.attention(),
    "prefill": lambda b: b.attention(),
    "sample": lambda b: b.sample(),
}


@contextmanager
def forced(trial: Trial) -> Iterator[None]:
    """The back end with its choices replaced by the trial's, and with its own products for as many rows."""
    choice = dict(trial.choice)
    least = choice.pop("LEAST", 64)
    with ExitStack() as stack:
        for module, name, value in (
            (tuning, "choose", lambda *a, **k: dict(choice)),
            (attention, "blocks", lambda *a, **k: dict(choice)),
            (attention, "decode_blocks", lambda *a, **k: dict(choice)),
            (attention, "least_positions", lambda *a: least),
            (matrix, "FEW_ROWS", 1 if LIBRARY in choice else trial.rows),
            (tuning, "ours", lambda columns: 1 if LIBRARY in choice else trial.rows),
            (sampling, "DRAW_WARPS", choice.get("num_warps", 8)),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def bench(trial: Trial, copies: int | None) -> Bench:
    """The bench of a trial."""
    target = Target.of(DEVICE, torch.bfloat16)
    target = target if trial.op == "prefill" else target.decoding(trial.rows)
    config, copies = configuration(trial.model, 9216), copies or (8 if "8b" in trial.model else 16)
    rest = {"rows": trial.rows, "ctx": 512, "copies": copies, "packing": trial.packing}
    return Bench(config, registry("triton", "cublas"), target, **rest)  # type: ignore[arg-type]


def warm(share: int, shares: int, wanted: str) -> None:
    """Compile and run every `shares`-th trial once, on one weight."""
    torch.cuda.set_per_process_memory_fraction(0.06)
    for trial in trials(wanted)[share::shares]:
        with forced(trial):
            try:
                MAKE[trial.op](bench(trial, 1)).calls[0]()
                torch.cuda.synchronize()
            except Exception as error:  # some configurations need more shared memory than there is
                print(f"{trial}: {type(error).__name__} {str(error)[:80]}", flush=True)


def prepare(wanted: str = "", shares: int = 14) -> None:
    """`warm` in as many processes."""
    command = [sys.executable, "-m", "benchmarks.gpu.sweep"]
    running = [
        subprocess.Popen([*command, str(i), str(shares), wanted], stderr=subprocess.DEVNULL) for i in range(shares)
    ]
    for process in running:
        process.wait()


def sweep(seconds: float, wanted: str = "") -> list[dict[str, object]]:
    """Time every trial; a row each."""
    rows: list[dict[str, object]] = []
    until = time.time() + seconds
    for trial in trials(wanted):
        if time.time() > until:
            print(f"sweep: out of time before {trial}", flush=True)
            break
        with forced(trial):
            try:
                site = MAKE[trial.op](bench(trial, None))
                graph = Graph(lambda site=site: [call() for call in site.calls], warm=1)
                took = milliseconds(graph.replay, repeat=5, inner=3) / len(site.calls)
                got: dict[str, object] = {
                    "us": took * 1e3,
                    "TBs": site.nbytes / took / 1e9,
                    "TFLOPs": site.flops / took / 1e9,
                }
            except Exception as error:  # as in `warm`
                got = {"error": f"{type(error).__name__} {str(error)[:120]}"}
        rows.append({"trial": " ".join(map(str, trial.key)), "shape": str(trial.choice), **got})
    return rows


def best(rows: list[dict[str, object]], keep: int = 3) -> list[str]:
    """The fastest configurations of each competition, as lines; then how the rest did."""
    lines = []
    for key in dict.fromkeys(r["trial"] for r in rows):
        mine = sorted((r for r in rows if r["trial"] == key and "us" in r), key=lambda r: float(str(r["us"])))
        lines += [
            f"{key:32} {r['us']:8.2f} us {r['TBs']:6.2f} TB/s {r['TFLOPs']:6.1f} TFLOP/s  {r['shape']}"
            for r in mine[:keep]
        ]
        failed = sum(r["trial"] == key and "error" in r for r in rows)
        rest = " ".join(f"{r['us']:.1f}" for r in mine[keep:])
        lines.append(f"{key:32} then {rest}; {failed} failed")
    return lines


if __name__ == "__main__":
    warm(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
