"""Host cost of the engine's steps, with a model and draws that cost nothing: `python -m benchmarks.engine_steps`.

Scheduling, packing, bookkeeping and outputs are the real ones; no kernel is launched while sequences decode. Times are
the thread's CPU time, so that other work on the machine counts less. Prints one JSON object; `--out FILE` keeps it.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rustinfer.cli.facts import save
from rustinfer.engine.admission import Admission
from rustinfer.engine.batch import Batcher, items
from rustinfer.engine.draw import Draw
from rustinfer.engine.engine import Engine
from rustinfer.engine.kvcache import KVCache
from rustinfer.engine.lanes import Lanes
from rustinfer.engine.mixed import Mixed
from rustinfer.engine.radix import RadixTree
from rustinfer.engine.runner import Runner
from rustinfer.engine.sampler import Sampler
from rustinfer.engine.scheduler import Limits
from rustinfer.engine.sequence import Request
from rustinfer.models import Step
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.registry import Binder, Target, load_plugins

VOCAB, PAGE, CONTEXT, STEPS = 1000, 16, 1024, 400
CPU = torch.device("cpu")


class NullModel:
    """Hidden states and logits of one number."""

    def forward(self, step: Step) -> Tensor:
        return torch.zeros(len(step.tokens), 1)

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), VOCAB)

    def decode(self, step: Step) -> Tensor:
        return torch.zeros(len(step.tokens), VOCAB)


class NullDecode:
    """A decode step that has been computed already."""

    def __init__(self, rows: int) -> None:
        self.rows, self.ready = rows, True
        self._logits, self._tokens = torch.zeros(rows, 1), torch.ones(rows, dtype=torch.int64)

    def forward(self, lanes: int, width: int) -> tuple[Tensor, Tensor]:
        return self._logits, self._tokens

    def tell(self, logits: Tensor, drawing: Tensor, greedy: bool) -> Tensor:
        return self._tokens


def engine(
    sequences: int, context: int = CONTEXT, tokens: int = 2048, vocab: int = VOCAB, sharing: bool = True
) -> Engine:
    """An engine for so many sequences of up to `context` tokens, one step ahead as on a GPU."""
    binder = Binder(load_plugins().registry, Target.of(CPU, torch.float32).decoding(sequences))
    pages, tokens = sequences * context // PAGE, max(tokens, sequences)
    lanes = Lanes(sequences, context // PAGE, PAGE, CPU, items(tokens, sequences))
    decode: Any = NullDecode(sequences)
    mixed = Mixed(NullModel(), Batcher(lanes, binder.place_rows(page_size=PAGE)), Draw(binder))
    runner = Runner(mixed, [decode], [], lanes, Sampler(binder, vocab), 1)
    admission = Admission(vocab, context, pages * PAGE)
    return Engine(runner, KVCache(pages, PAGE, sharing), Limits(sequences, tokens), admission)


def steps(sequences: int, **params: Any) -> dict[str, float]:
    """Microseconds of a step in which every sequence decodes: the median, and the best of ten means."""
    made = engine(sequences)
    sampling = SamplingParams(max_tokens=CONTEXT - 20, ignore_eos=True, **params)
    for i in range(sequences):
        made.add(Request(f"{i}", [i % 7 + 1] * 16, sampling))
    while made.scheduler.waiting or any(q.generated < 2 for q in made.scheduler.running):
        made.step()
    gc.collect()
    gc.freeze()
    times = timed(made.step, STEPS)
    tens = [statistics.mean(times[i : i + STEPS // 10]) for i in range(0, STEPS, STEPS // 10)]
    return {"median us": round(statistics.median(times), 1), "best tenth's mean us": round(min(tens), 1)}


def timed(call: Callable[[], object], count: int) -> list[float]:
    """Microseconds of CPU time of each of `count` calls."""
    found = []
    for _ in range(count):
        start = time.thread_time_ns()
        call()
        found.append((time.thread_time_ns() - start) / 1e3)
    return found


def radix(tokens: int = 2000, prompts: int = 500) -> dict[str, float]:
    """Microseconds to match a known prompt, to insert a new one after a common half, and to evict a page."""
    source = random.Random(0)
    tree, block = RadixTree(PAGE * 8), PAGE * 8
    stem = source.randbytes(tokens // 2 // PAGE * block)
    keys = [stem + source.randbytes(tokens // 2 // PAGE * block) for _ in range(prompts)]
    count = len(keys[0]) // block
    inserts = [timed(lambda k=k: tree.insert("", k, range(count)), 1)[0] for k in keys]
    matches = [timed(lambda k=k: tree.match("", k), 1)[0] for k in keys]
    evicts = timed(lambda: tree.evict(1), prompts)
    return {
        f"match {tokens} tokens, us": round(statistics.median(matches), 1),
        f"insert {tokens} tokens, us": round(statistics.median(inserts), 1),
        "evict a page, us": round(statistics.median(evicts), 1),
    }


def main() -> None:
    """Print, and perhaps keep, every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="FILE")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "greedy": {str(n): steps(n, temperature=0.0) for n in (1, 64, 256, 1024)},
        "temperature 0.6": {str(n): steps(n, temperature=0.6) for n in (1, 64, 256, 1024)},
        "radix": radix(),
    }
    print(json.dumps(report, indent=1))
    save(asked.out, report)


if __name__ == "__main__":
    main()
