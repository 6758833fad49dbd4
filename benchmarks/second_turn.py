"""What the prefix cache saves a conversation: `python -m benchmarks.second_turn`.

The default model; the first turn has 1,500 tokens, the second all of that, the answer, and 20 tokens more. Each round
is another conversation. Prints one JSON object, the milliseconds to each turn's first token; `--output FILE` keeps it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save

PROMPT, ANSWER, MORE, PAGE = 1500, 16, 20, 16


def first_token(llm: LLM, ids: list[int], count: int) -> tuple[float, list[int], int]:
    """Milliseconds to the first token, all of them, and the prompt's tokens that were found in the cache."""
    totals = llm._parts.engine.totals
    start, first, said, before = time.perf_counter(), 0.0, [], totals.cached_tokens
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    for delta in llm.stream({"prompt_token_ids": ids}, params):
        first = first or time.perf_counter() - start
        said += delta.token_ids
    return first * 1e3, said, totals.cached_tokens - before


def conversation(llm: LLM, source: random.Random) -> tuple[float, float, int, int]:
    """Milliseconds of both turns; tokens of the second that were cached, and that should have been."""
    ids = [source.randrange(100, 40_000) for _ in range(PROMPT)]
    cold, said, _ = first_token(llm, ids, ANSWER)
    # The last token of an answer was drawn and never computed; what is shared is whole pages.
    known = (PROMPT + len(said) - 1) // PAGE * PAGE
    again = ids + said + [source.randrange(100, 40_000) for _ in range(MORE)]
    warm, _, cached = first_token(llm, again, 1)
    return cold, warm, cached, known


def main() -> None:
    """Print, and perhaps keep, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    source = random.Random(0)
    with LLM("smollm2", max_model_len=2048, max_num_seqs=2, kv_cache_tokens=16_384, block_size=PAGE) as llm:
        first_token(llm, [1] * 100, 2)
        rounds = [conversation(llm, source) for _ in range(asked.rounds)]
    colds, warms = [r[0] for r in rounds], [r[1] for r in rounds]
    report = {
        "first turn, ms": {"median": round(statistics.median(colds), 1), "best": round(min(colds), 1)},
        "second turn, ms": {"median": round(statistics.median(warms), 1), "best": round(min(warms), 1)},
        "times sooner": {
            "median": round(statistics.median(c / w for c, w in zip(colds, warms, strict=True)), 1),
            "of the best": round(min(colds) / min(warms), 1),
        },
        "cached tokens of each second turn": [r[2] for r in rounds],
        "counted independently": [r[3] for r in rounds],
    }
    print(json.dumps(report, indent=2))
    save(asked.output, report)


if __name__ == "__main__":
    main()
