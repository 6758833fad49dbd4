"""What explosive grammars cost whoever is beside them: `python -m benchmarks.grammar_neighbours`.

One sequence decodes on the default model while requests with grammars come one after another, each new: ordinary ones,
or such as explode, in compiling or in their masks. Rounds of each, and without any, take turns in one process. Prints
one JSON object with the milliseconds between the sequence's tokens; `--output FILE` keeps it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save
from rustinfer.engine.engine import Engine
from rustinfer.engine.sequence import Request
from rustinfer.protocol.messages import Output
from rustinfer.protocol.structured import Structured

TOKENS, EVERY = 150, 10
"""Tokens of a round, and after how many of them the next request comes beside it."""


def patterns(number: int, pattern: str) -> str:
    """A schema of an object with so many strings of a pattern."""
    return json.dumps({"properties": {f"k{k}": {"pattern": pattern} for k in range(number)}, "type": "object"})


ORDINARY: tuple[Callable[[int], Structured], ...] = (
    lambda i: Structured("choice", f'["yes {i}", "no {i}"]'),
    lambda i: Structured("regex", f"[a-z]{{3,{9 + i}}}-[0-9]+"),
    lambda i: Structured("json_schema", patterns(3, f"^[a-z]{{1,{5 + i}}}$")),
)
EXPLOSIVE: tuple[Callable[[int], Structured], ...] = (
    lambda i: Structured("regex", f"(((a{{{900 + i}}}){{1000}}){{1000}})"),
    lambda i: Structured("regex", "|".join(f"{k}{'x' * 9}{i}" for k in range(15_000))),
    lambda i: Structured("regex", f"(.*a{i}.{{{200 + i % 50}}}b.*c.{{200}})|(.*[x-z].{{300}}q)"),
    lambda i: Structured("regex", f"[a-z]{{{100 + i}}}(((a{{1000}}){{1000}}){{1000}})"),
    lambda i: Structured("grammar", f"start: (/[^x]{{1,{90 + i}}}/ /[^y]{{1,90}}/){{1,90}}"),
    lambda i: Structured("json_schema", patterns(300, f".*{i}.*[a-f]{{{1 + i % 40}}}.*")),
)


def forms(shapes: Sequence[Callable[[int], Structured]]) -> Iterator[Structured]:
    """Forms without end, no two alike."""
    yield from (shape(i) for i, shape in zip(count(), cycle(shapes), strict=False))


def gaps(engine: Engine, name: str, beside: Iterator[Structured] | None) -> tuple[list[float], Counter[str]]:
    """Milliseconds between the tokens of one sequence; and how the requests beside it ended."""
    greedy = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    engine.add(Request(name, [1, 2, 3], greedy))
    found: list[float] = []
    ends: Counter[str] = Counter()
    last, asked = time.perf_counter(), 0
    while len(found) < TOKENS:
        for _, news in engine.step():
            if news.id != name:
                ends[getattr(news, "code", None) or getattr(news, "finish_reason", None) or "a token"] += 1
                continue
            assert isinstance(news, Output)
            now = time.perf_counter()
            found.append((now - last) * 1e3)
            last = now
            if beside and len(found) % EVERY == 0:
                asked += 1
                params = SamplingParams(seed=asked, max_tokens=20, structured_outputs=next(beside))
                engine.add(Request(f"{name}/{asked}", [4, 5], params))
    for i in range(1, asked + 1):
        engine.abort((b"", f"{name}/{i}"))
    while engine.has_work:
        engine.step()
    return found[2:], ends


def shares(values: list[float]) -> dict[str, float]:
    """Of milliseconds: the median, the 99th in a hundred, and the most."""
    ordered = sorted(values)
    return {f"p{p} ms": round(ordered[min(len(ordered) * p // 100, len(ordered) - 1)], 1) for p in (50, 99, 100)}


def main() -> None:
    """Print, and perhaps keep, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    arms = {"alone": None, "ordinary grammars": forms(ORDINARY), "explosive grammars": forms(EXPLOSIVE)}
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    ends: dict[str, Counter[str]] = {arm: Counter() for arm in arms}
    with LLM("smollm2", max_model_len=512, max_num_seqs=16) as llm:
        engine = llm._parts.engine
        for arm, beside in arms.items():
            gaps(engine, f"warm {arm}", beside)
        for number in range(asked.rounds):
            for arm, beside in arms.items():
                found, ended = gaps(engine, f"{arm} {number}", beside)
                times[arm] += found
                ends[arm] += ended
    report = {
        "beside": {arm: {**shares(times[arm]), "ends": dict(ends[arm])} for arm in arms},
    }
    print(json.dumps(report, indent=2))
    save(asked.output, report)


if __name__ == "__main__":
    main()
