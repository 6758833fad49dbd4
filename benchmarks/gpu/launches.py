"""Launches of several tokens beside launches of one, in the same engine: the same tokens, and what each takes.

python -m benchmarks.gpu.launches --out FILE [--only llama-3.2-1b,llama-3.2-1b:int8,llama-3.2-1b:int4] [--quick]

Tokens: greedy, at random and with stop tokens, by 1, 3 and 8 sequences at once. Those drawn at random may differ where
two scores are within the 3e-5 that the sampler's own kernel errs by. Times: (513 tokens - 1) / 512, in turns.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save
from rustinfer.engine.build import Loaded, load
from rustinfer.engine.options import Options

if TYPE_CHECKING:
    from rustinfer.outputs import CompletionDelta

ALL = ("llama-3.2-1b", "llama-3.2-1b:int8", "llama-3.2-1b:int4")
ROUNDS, STOPS = 3, 400
ASKED: dict[str, Callable[[int], dict[str, Any]]] = {
    "greedy": lambda i: {"temperature": 0, "ignore_eos": True},
    "at random": lambda i: {"temperature": 0.3 + 0.2 * i, "seed": 7 + i, "ignore_eos": True},
    "stop tokens": lambda i: {"temperature": 1.5, "seed": i, "stop_token_ids": list(range(i, 128000, STOPS))[:256]},
}


class Bench:
    """One engine, which decodes so many tokens a launch as it is told to."""

    def __init__(self, model: str, scheme: str) -> None:
        sizes: dict[str, Any] = {
            "max_num_seqs": 8,
            "max_num_batched_tokens": 2560,
            "max_model_len": 4096,
            "kv_cache_tokens": 32768,
        }
        options = Options(load_format="dummy", quantization=scheme or None, enable_prefix_caching=False, **sizes)
        self.loaded: Loaded = load(model, options)
        self.llm, self.random = LLM.over(self.loaded), random.Random(0)

    def launch(self, tokens: int) -> None:
        """So many from here on."""
        scheduler = self.loaded.engine.scheduler
        scheduler.limits = replace(scheduler.limits, several=tokens, longer=0)

    def prompts(self, count: int, length: int) -> list[dict[str, list[int]]]:
        """Random ids, none of them special."""
        return [{"prompt_token_ids": [self.random.randrange(10, 120000) for _ in range(length)]} for _ in range(count)]

    def said(self, prompts: list[dict[str, list[int]]], params: list[SamplingParams]) -> list[list[int]]:
        """The tokens of requests that come at once."""
        return [list(r.outputs[0].token_ids) for r in self.llm.generate(prompts, params, use_tqdm=False)]

    def same(self) -> dict[str, Any]:
        """Of how many requests the tokens are the same, and where the first of the others part."""
        found: dict[str, Any] = {}
        for name, asked in ASKED.items():
            for size in (1, 3, 8):
                prompts = self.prompts(size, 100 + 7 * size)
                params = [SamplingParams(max_tokens=130 + i, **asked(i)) for i in range(size)]
                told = {}
                for tokens in (1, 4):
                    self.launch(tokens)
                    told[tokens] = self.said(prompts, params)
                pairs = list(zip(told[1], told[4], strict=True))
                apart = [next((i for i, p in enumerate(zip(a, b, strict=False)) if p[0] != p[1]), -1) for a, b in pairs]
                same = sum(a == b for a, b in pairs)
                lengths = [len(a) for a, _ in pairs]
                found[f"{name}, {size} at once"] = {"alike": same, "of": size, "apart at": apart, "tokens": lengths}
        return found

    def aborted(self) -> dict[str, float]:
        """Milliseconds from the end of a stream that is closed early to the end of a request of one token after it."""
        found = {}
        for tokens in (1, 4):
            self.launch(tokens)
            waits = []
            for i in range(12):
                stream = self.llm.stream(self.prompts(1, 128)[0], SamplingParams(max_tokens=500, ignore_eos=True))
                for _ in range(20 + i):
                    next(stream)
                begun = time.perf_counter()
                cast("Generator[CompletionDelta]", stream).close()
                self.said(self.prompts(1, 16), [SamplingParams(max_tokens=1)])
                waits.append(1e3 * (time.perf_counter() - begun))
            found[f"{tokens} a launch"] = statistics.median(waits)
        return found

    def seconds(self, size: int, context: int, count: int) -> float:
        """Of so many requests at once."""
        prompts = self.prompts(size, context)
        params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, detokenize=False)
        begun = time.perf_counter()
        self.said(prompts, [params] * size)
        return time.perf_counter() - begun

    def rates(self, quick: bool) -> dict[str, Any]:
        """Tokens per second, one and four a launch in turns."""
        found: dict[str, Any] = {}
        for size, context in ((1, 128), (1, 2048), *(() if quick else ((2, 128), (4, 128), (8, 128)))):
            taken: dict[int, list[float]] = {1: [], 4: []}
            first = min(self.seconds(size, context, 1) for _ in range(ROUNDS))
            for _ in range(ROUNDS):
                for tokens, times in taken.items():
                    self.launch(tokens)
                    times.append(self.seconds(size, context, 513) - first)
            name = f"{size} at once, context {context}"
            found[name] = {f"{n} a launch": size * 512 / statistics.median(times) for n, times in taken.items()}
        return found


def main() -> None:
    """Run what is asked for; one that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(ALL))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    report: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name in given.only.split(","):
        try:
            bench = Bench(*(name + ":").split(":")[:2])
            report[name] = found = {"same": bench.same()}
            print(name, json.dumps(found["same"]), flush=True)
            found["after an abort, ms"] = bench.aborted()
            found["tokens/s"] = bench.rates(given.quick)
            print(name, json.dumps({k: v for k, v in found.items() if k != "same"}), flush=True)
            bench.llm.close()
        except Exception as error:
            report[name] = {**report.get(name, {}), "failed": repr(error)}
            print(name, report[name], flush=True)
        torch.cuda.empty_cache()
        given.out.parent.mkdir(parents=True, exist_ok=True)
        save(given.out, report)


if __name__ == "__main__":
    main()
