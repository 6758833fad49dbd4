"""Block shapes of the Triton kernels, tried one by one on real shapes.

Compiling costs a hundred times what running does, so processes first compile all configurations into Triton's cache
(`warm`), and then one process times them alone.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from rustinfer.backends.triton import attention, tuning
from rustinfer.registry import Target

from .graph import Graph, milliseconds
from .sites import Bench, Site
from .world import DEVICE, configuration, registry

Choice = dict[str, int]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One op, one number of rows, one configuration."""

    op: str
    rows: int
    choice: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.op} rows {self.rows} " + " ".join(f"{k}={v}" for k, v in self.choice)


def freeze(choice: Choice) -> tuple[tuple[str, int], ...]:
    """A choice that can be a key."""
    return tuple(choice.items())


FEW = (
    (16, 512, 4, 2), (16, 512, 4, 4), (16, 1024, 3, 4), (16, 256, 6, 2), (32, 128, 4, 4), (32, 256, 3, 4),
    (32, 256, 4, 4),     (32, 512, 3, 4), (64, 128, 4, 4), (64, 256, 3, 4), (64, 128, 5, 8),
)  # fmt: skip
ONE = ((4, 512, 2), (4, 1024, 2), (4, 2048, 4), (8, 512, 2), (8, 1024, 4), (2, 2048, 2), (4, 4096, 4))


def matrices(op: str, columns: int, pairs: bool) -> Iterator[Trial]:
    """Configurations of a projection for one row, for eight and, where it is fused, for 32."""
    for br, bk, warps in ONE:
        if bk <= columns and (br > 2 or not pairs):
            yield Trial(op, 1, freeze({"BR": br, "BK": bk, "STAGES": 1, "num_warps": warps}))
    for rows in (8, 32) if pairs else (8,):
        for br, bk, stages, warps in FEW:
            yield Trial(op, rows, freeze({"BR": br, "BK": bk, "STAGES": stages, "num_warps": warps}))


def trials() -> list[Trial]:
    """Everything to try."""
    found = [t for op, columns, pairs in PRODUCTS for t in matrices(op, columns, pairs)]
    for rows in (8, 32, 64):
        found += [
            Trial("decode", rows, freeze({"BN": bn, "num_warps": w, "num_stages": stages}))
            for bn in (64, 128)
            for w in (2, 4)
            for stages in (2, 3)
        ]
    for rows, count in ((2048, "prefill"), (8192, "prefill")):
        found += [
            Trial(count, rows, freeze({"BM": bm, "BN": bn, "num_warps": w, "num_stages": stages}))
            for bm, w in ((64, 4), (128, 4), (128, 8))
            for bn in (64, 128)
            for stages in (2, 3)
        ]
    return found


PRODUCTS = (
    ("qkv", 2048, True),
    ("o", 2048, False),
    ("gate_up", 2048, True),
    ("down", 8192, False),
    ("head", 2048, False),
)
MAKE: dict[str, Callable[[Bench], Site]] = {
    "qkv": lambda b: b.qkv(),
    "o": lambda b: b.linear("o", b.config.width, b.config.width, "triton"),
    "gate_up": lambda b: b.gate_up(),
    "down": lambda b: b.linear("down", b.config.width, b.config.hidden, "triton"),
    "head": lambda b: b.head(),
    "decode": lambda b: b.attention(),
    "prefill": lambda b: b.attention(),
}


@contextmanager
def forced(trial: Trial) -> Iterator[None]:
    """The back end with its choices replaced by the trial's."""
    kept = tuning.choose, attention.blocks, attention.decode_blocks
    choice = dict(trial.choice)
    tuning.choose = lambda *a, **k: dict(choice)  # type: ignore[assignment]
    attention.blocks = lambda *a, **k: dict(choice)  # type: ignore[assignment]
    attention.decode_blocks = lambda *a, **k: dict(choice)  # type: ignore[assignment]
    try:
        yield
    finally:
        tuning.choose, attention.blocks, attention.decode_blocks = kept


def bench(trial: Trial, copies: int | None) -> Bench:
    """The bench of a trial, in the 1B shape."""
    target = Target.of(DEVICE, torch.bfloat16)
    target = target if trial.op == "prefill" else target.decoding(trial.rows)
    return Bench(
        configuration("llama-3.2-1b", 9216), registry("triton"), target, rows=trial.rows, ctx=512, copies=copies
    )


def warm(share: int, shares: int) -> None:
    """Compile and run every `shares`-th trial once, on one weight."""
    mine = trials()[share::shares]
    for key in dict.fromkeys((t.op, t.rows) for t in mine):
        shared = bench(next(t for t in mine if (t.op, t.rows) == key), 1)
        for trial in (t for t in mine if (t.op, t.rows) == key):
            with forced(trial):
                try:
                    MAKE[trial.op](shared).calls[0]()
                    torch.cuda.synchronize()
                except Exception as error:  # some configurations need more shared memory than there is
                    print(f"{trial}: {type(error).__name__} {str(error)[:80]}", flush=True)


def prepare(shares: int = 14) -> None:
    """`warm` in as many processes."""
    command = [sys.executable, "-m", "benchmarks.gpu.sweep"]
    running = [subprocess.Popen([*command, str(i), str(shares)], stderr=subprocess.DEVNULL) for i in range(shares)]
    for process in running:
        process.wait()


def sweep(seconds: float) -> list[dict[str, object]]:
    """Time every trial; a row each."""
    rows: list[dict[str, object]] = []
    until = time.time() + seconds
    for trial in trials():
        if time.time() > until:
            print(f"sweep: out of time before {trial}", flush=True)
            break
        with forced(trial):
            try:
                site = MAKE[trial.op](bench(trial, None))
                graph = Graph(lambda site=site: [call() for call in site.calls], warm=1)
                took = milliseconds(graph.replay, repeat=5, inner=3) / len(site.calls)
                rows.append({"op": trial.op, "rows": trial.rows, **dict(trial.choice), "us": took * 1e3,
                             "TBs": site.nbytes / took / 1e9, "TFLOPs": site.flops / took / 1e9})  # fmt: skip
            except Exception as error:  # as in `warm`
                rows.append(
                    {
                        "op": trial.op,
                        "rows": trial.rows,
                        **dict(trial.choice),
                        "error": f"{type(error).__name__} {str(error)[:120]}",
                    }
                )
    return rows


def best(rows: list[dict[str, object]], keep: int = 4) -> list[str]:
    """The fastest configurations of each op and row count, as lines."""
    lines = []
    for key in dict.fromkeys((r["op"], r["rows"]) for r in rows):
        mine = sorted((r for r in rows if (r["op"], r["rows"]) == key and "us" in r), key=lambda r: float(str(r["us"])))
        for r in mine[:keep]:
            shape = " ".join(f"{k}={v}" for k, v in r.items() if k not in ("op", "rows", "us", "TBs", "TFLOPs"))
            lines.append(
                f"{key[0]:8} rows {key[1]:<5} {r['us']:8.2f} us {r['TBs']:6.2f} TB/s "
                f"{r['TFLOPs']:7.1f} TFLOP/s  {shape}"
            )
        lines.append(
            f"{key[0]:8} rows {key[1]:<5} worst {mine[-1]['us']:.1f} us of {len(mine)}"
            if mine
            else f"{key}: all failed"
        )
    return lines


if __name__ == "__main__":
    warm(int(sys.argv[1]), int(sys.argv[2]))
