"""Prompts by several trees in turns: `python -m benchmarks.gpu.prompt_turns --out FILE old=DIR new=DIR`.

One process a tree, loaded one after the other before the first is asked; each is asked for a few prompts at a time, in
turns, so that the card's clock and the machine's state are the same for all. Then, of each tree, where the host is
at what time.

With `--model null`, on a CPU, nothing is computed (`benchmarks.prompt_host`); `--sweep MIB` of memory are read before
each prompt: its code and data then come from farther away, as perhaps after a wait for a device.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from itertools import chain
from typing import Any

from rustinfer.cli.facts import save

SIZES = {"max_model_len": 9216, "max_num_batched_tokens": 16384, "enable_prefix_caching": False,
         "kv_cache_tokens": 1 << 16}  # fmt: skip  # of memory a share would do for one tree: what others hold counts
TOKENS, DROPPED, STAMPED = (128, 512, 2048, 8192), 2, 12
SWEPT: list[bytes] = []


def serve(model: str, sequences: int, sweep: int) -> None:
    """Answer lines with lines: a function below, a number of tokens, a number of runs."""
    llm = loaded(model, sequences)
    SWEPT.append(bytes(sweep << 20))
    source, known = random.Random(0), {"times": times, "stamps": stamps}
    say(dict(llm.phases))
    for line in sys.stdin:
        word, *numbers = line.split()
        say(known[word](llm, source, *map(int, numbers)))


def loaded(model: str, sequences: int) -> Any:
    """The model of random weights, or none at all."""
    from benchmarks.prompt_host import null
    from rustinfer import LLM

    if model == "null":
        return null(sequences)
    return LLM(model, device="auto", load_format="dummy", max_num_seqs=sequences, gpu_memory_utilization=0.95, **SIZES)  # type: ignore[arg-type]


def say(what: Any) -> None:
    """A line that is an answer and no log."""
    print("\t" + json.dumps(what), flush=True)


def times(llm: Any, source: random.Random, tokens: int, runs: int) -> list[float]:
    """Milliseconds from each prompt to its first token, without the first few."""
    return [prompt(llm, source, tokens) for _ in range(runs)][DROPPED:]


def prompt(llm: Any, source: random.Random, tokens: int) -> float:
    """Milliseconds of one prompt of random ids."""
    from rustinfer import SamplingParams

    asked = {"prompt_token_ids": [source.randrange(10, 120000) for _ in range(tokens)]}
    params = [SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True, detokenize=False)]
    for memory in SWEPT:
        memory.count(b"\1")
    start = time.perf_counter()
    llm.generate([asked], params, use_tqdm=False)
    return (time.perf_counter() - start) * 1e3


def stamps(llm: Any, source: random.Random, tokens: int, runs: int) -> dict[str, float]:
    """Microseconds after the request at which each part of the host's work begins and ends, the median of the runs."""
    engine = llm._loaded.engine
    runner, mixed, noted = engine.runner, engine.runner.mixed, list[tuple[str, float]]()
    owners = {
        "_add": llm, "add": engine, "plan": engine.scheduler, "launch": runner, "follow": runner.lanes,
        "fill": mixed.batcher, "send": runner.lanes._staging, "forward": mixed, "tell": mixed,
        "fetch": runner._arrivals, "read": engine._landing, "land": engine._landing, "generate": llm,
    }  # fmt: skip
    for name, owner in owners.items():
        setattr(owner, name, stamping(getattr(owner, name), name, noted))
    rows = []
    for _ in range(runs):
        noted.clear()
        prompt(llm, source, tokens)
        rows.append({name: (at - noted[0][1]) * 1e6 for name, at in reversed(noted)})
    for name, owner in owners.items():
        delattr(owner, name)
    found = {name: statistics.median(row[name] for row in rows[DROPPED:]) for name in rows[0]}
    return dict(sorted(((name, round(at, 1)) for name, at in found.items()), key=lambda pair: pair[1]))


def stamping(call: Any, name: str, noted: list[tuple[str, float]]) -> Any:
    """The call, which notes when it begins and ends."""

    def stamped(*args: Any, **named: Any) -> Any:
        noted.append((f"{name} begins", time.perf_counter()))
        result = call(*args, **named)
        noted.append((f"{name} ends", time.perf_counter()))
        return result

    return stamped


class Tree:
    """A tree's process."""

    def __init__(self, name: str, at: str, *how: str) -> None:
        self.name = name
        path = os.pathsep.join([at, os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "benchmarks.gpu.prompt_turns", "--serve", *how]
        pipe = subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": path}
        self.process = subprocess.Popen(command, cwd=at, env=environment, stdin=pipe, stdout=pipe, text=True)

    def answer(self) -> Any:
        """The next answer; what else is printed is passed on."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("\t"):
                return json.loads(line)
            print(f"{self.name}: {line}", end="", flush=True)
        raise SystemExit(f"{self.name} is gone")

    def ask(self, *words: Any) -> Any:
        """What it answers."""
        assert self.process.stdin
        print(*words, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(30)


def in_turns(trees: list[Tree], tokens: int, rounds: int) -> dict[str, Any]:
    """Each tree's times, a few a round, whoever was first is next last."""
    found: dict[str, list[list[float]]] = {tree.name: [] for tree in trees}
    for number in range(rounds):
        for tree in trees[number % len(trees) :] + trees[: number % len(trees)]:
            found[tree.name].append([round(took, 3) for took in tree.ask("times", tokens, 6 + DROPPED)])
    return {
        name: {"median": statistics.median(each := [*chain(*rows)]), "min": min(each), "rounds": rows}
        for name, rows in found.items()
    }


def main() -> None:
    """Print a table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="*", metavar="NAME=DIR")
    parser.add_argument("--out")
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--sweep", type=int, default=0, metavar="MIB")
    parser.add_argument("--serve", action="store_true", help="be a tree's process")
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.model, asked.sequences, asked.sweep)
        return
    trees, report = list[Tree](), dict[str, Any]()
    how = ["--model", asked.model, "--sequences", str(asked.sequences), "--sweep", str(asked.sweep)]
    for tree in asked.trees:  # one after the other: each may time its matrix products
        trees.append(Tree(*tree.split("=", 1), *how))
        report[f"start of {trees[-1].name}, s"] = trees[-1].answer()
    for tokens in asked.tokens:
        report[f"{tokens} tokens, ms"] = told = in_turns(trees, tokens, asked.rounds)
        print(tokens, {name: (row["median"], row["min"]) for name, row in told.items()}, flush=True)
    for tokens in asked.tokens:
        for tree in trees:
            report[f"{tree.name}, {tokens} tokens, us after the request"] = told = tree.ask(
                "stamps", tokens, max(STAMPED, asked.rounds)
            )
            print(tokens, tree.name, told, flush=True)
    save(asked.out, report)
    for tree in trees:
        tree.close()


if __name__ == "__main__":
    main()
