"""`rustinfer bench gpu`: the workloads that other engines were measured on, token for token and clock for clock.

One stream is (time of 513 tokens - time of 1) / 512; a prompt is the time to its first token; a batch is (time of 129
tokens - time of 1) / 128 steps, at a context of 512; offline are 256 requests at once, prompts and answers of 100 to
1,024 tokens. Prompts are random ids, nothing is turned into text, and the prefix cache is off. Of a built-in shape the
shares of the roof are told, too: the least time that the device measured here could take, over the time taken.
"""

from __future__ import annotations

import random
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from .. import LLM, SamplingParams
from ..engine.options import Options
from ..roofline import Floors, Roof, roof
from .chart import draw
from .facts import report
from .local import open_llm

CONTEXT = 9216
DEPTH, MADE = 512, 128  # of the batches: the prompts' length, and the steps that are timed
STREAMS, PROMPTS, BATCHES = (128, 2048), (128, 512, 2048, 8192), (8, 32, 64, 128, 256)
REQUESTS, SHORTEST, LONGEST = 256, 100, 1024
Row = tuple[str, float, str]
stream, prompt, batch = "1 stream, context {}".format, "prefill of {}".format, f"batch of {{}}, context {DEPTH}".format
"""The names of rows."""


def gpu(args: Namespace) -> int:
    """Print every row as it is measured; where a file is named, write them all, and two plots beside it."""
    limits = roof_of_this_machine()
    with open_llm(args.model, options(args)) as llm:
        rows = list(measured(Workloads(llm, args.num_iters), args.only, quiet=args.json))
        phases = dict(llm.phases)
    result = {
        "model": args.model,
        "device": device(),
        "start, s": phases,
        "roof": {"GB/s": limits.bandwidth / 1e9, "TFLOP/s": limits.rate / 1e12},
        "rows": {name: {unit: value} for name, value, unit in rows},
        "shares of the roof": (shares := shares_of_the_roof(args.model, rows, limits)),
    }
    lines = [(n, f"{value:.2f}", unit, f"{shares[n]:.0%}" if n in shares else "") for n, value, unit in rows]
    report(args, result, ("", "", "", "of the roof"), lines, title=args.model)
    if args.output:
        plot(Path(args.output), args.model, rows, shares)
    return 0


def options(args: Namespace) -> Options:
    """What the flags ask for, and else what the other engines had."""
    asked = Options.of(args)
    return replace(
        asked,
        enable_prefix_caching=False,
        max_model_len=asked.max_model_len or CONTEXT,
        max_num_seqs=asked.max_num_seqs or REQUESTS,
        max_num_batched_tokens=asked.max_num_batched_tokens or 16384,
    )


def roof_of_this_machine() -> Roof:
    """Measured before a model takes the memory that this needs."""
    import torch

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    limits = roof(place, torch.bfloat16)
    if place.type == "cuda":
        torch.cuda.empty_cache()
    return limits


def shares_of_the_roof(model: str, rows: list[Row], limits: Roof) -> dict[str, float]:
    """Of the rows for which it is known how fast they could be at most. 1: the device could do no better."""
    floors, values = Floors.of(model, limits), {name: value for name, value, _ in rows}
    if floors is None:
        return {}
    most = {batch(size): size / floors.decode(size, DEPTH + MADE / 2) for size in BATCHES}
    most |= {stream(context): 1 / floors.decode(1, context + 256) for context in STREAMS}
    found = {name: values[name] / best for name, best in most.items() if name in values}
    least = {prompt(tokens): floors.prompt(tokens) * 1e3 for tokens in PROMPTS}
    return found | {name: best / values[name] for name, best in least.items() if name in values}


def plot(path: Path, model: str, rows: list[Row], shares: dict[str, float]) -> None:
    """Beside the result: throughput over the size of the batch, and the shares of the roof."""
    values = {name: value for name, value, _ in rows}
    lines = {model: [(size, values[batch(size)]) for size in BATCHES if batch(size) in values]}
    title, axis = f"{model}: decoding at a context of {DEPTH}", "sequences at once"
    if any(lines.values()):
        draw(str(path.with_suffix(".throughput.svg")), title, axis, "tokens/s", lines)
        reached = {"decoding": [(size, 100 * shares[batch(size)]) for size in BATCHES if batch(size) in shares]}
        if any(reached.values()):
            draw(str(path.with_suffix(".roof.svg")), title, axis, "% of what the device could do", reached)


def device() -> str:
    """The GPU's name and what drives it."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, torch {torch.__version__}"


class Workloads:
    """Requests to one model, with a clock beside them."""

    def __init__(self, llm: LLM, runs: int) -> None:
        self.llm, self.runs, self._random = llm, runs, random.Random(0)
        self.time([self.prompt(64)], [32])

    def prompt(self, tokens: int) -> list[int]:
        """Random ids, none of them special."""
        most = min(self.llm.vocab_size - 1, 120000)
        return [self._random.randrange(10, most) for _ in range(tokens)]

    def time(self, prompts: list[list[int]], outputs: list[int], temperature: float = 0.0) -> tuple[float, int]:
        """Seconds from handing all of them over to the last token, and how many tokens came."""
        params = [
            SamplingParams(temperature=temperature, max_tokens=n, ignore_eos=True, detokenize=False) for n in outputs
        ]
        asked = [{"prompt_token_ids": ids} for ids in prompts]
        start = time.perf_counter()
        done = self.llm.generate(asked, params, use_tqdm=False)
        return time.perf_counter() - start, sum(len(result.outputs[0].token_ids) for result in done)

    def stream(self) -> Iterator[Row]:
        """One request: tokens per second after the first."""
        for context in STREAMS:
            first = min(self.time([self.prompt(context)], [1])[0] for _ in range(self.runs))
            whole = median([self.time([self.prompt(context)], [513])[0] for _ in range(self.runs)])
            yield stream(context), 512 / (whole - first), "tokens/s"

    def prefill(self) -> Iterator[Row]:
        """One request: milliseconds to its first token."""
        for tokens in PROMPTS:
            times = [self.time([self.prompt(tokens)], [1])[0] for _ in range(self.runs + 2)]
            yield prompt(tokens), median(times) * 1e3, "ms"

    def batch(self) -> Iterator[Row]:
        """Requests of equal length: tokens per second of all, after the first of each."""
        for size in BATCHES:
            prompts = [[self.prompt(DEPTH) for _ in range(size)] for _ in range(3)]
            first = min(self.time(some, [1] * size)[0] for some in prompts[:2])
            whole = self.time(prompts[2], [MADE + 1] * size)[0]
            yield batch(size), size * MADE / (whole - first), "tokens/s"

    def offline(self) -> Iterator[Row]:
        """Requests of all lengths at once: tokens per second, prompts included in the time."""
        for name, temperature in (("temperature 0.6", 0.6), ("greedy", 0.0)):
            self._random = random.Random(0)
            prompts = [self.prompt(self._random.randint(SHORTEST, LONGEST)) for _ in range(REQUESTS)]
            outputs = [self._random.randint(SHORTEST, LONGEST) for _ in range(REQUESTS)]
            took, tokens = self.time(prompts, outputs, temperature)
            yield f"offline, {REQUESTS} requests, {name}", tokens / took, "tokens/s"


def measured(workloads: Workloads, parts: list[str], *, quiet: bool) -> Iterator[Row]:
    """The rows of these parts, each printed when it is known: the whole takes minutes."""
    for part in parts:
        for name, value, unit in getattr(workloads, part)():
            if not quiet:
                print(f"{name}: {value:.2f} {unit}", flush=True)
            yield name, value, unit
