"""What guessing by prompt lookup is worth: `python -m benchmarks.speculation`.

The default model, greedy, one sequence: a text to be copied, code to go on with, and a story, in which little comes
twice. Two engines, one of which guesses, take turns task by task. Prints one JSON object; `--output FILE` keeps it.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rustinfer import LLM, SamplingParams
from rustinfer.cli.facts import save

TOKENS = 160
CONFIG = {"method": "ngram"}
TEXT = (
    "The harbour of Orlen freezes late in December. Boats are drawn up on the shingle, tarred, and left under canvas "
    "until April. In the second week of January the ice carries a horse, and the road to the island is marked with "
    "fir branches every forty paces. Nobody crosses after dark; two brothers did, in 1911, with a sledge of salt."
)
CODE = """def area(width, height):
    return width * height


def perimeter(width, height):
    return 2 * (width + height)


"""
TASKS: dict[str, Any] = {
    "copy a text": [{"role": "user", "content": f"Repeat this text word for word, three times:\n\n{TEXT}"}],
    "go on with code": CODE * 2 + "def volume(width, height, depth):\n",
    "write a story": [{"role": "user", "content": "Write a story about a lighthouse keeper who learns to sail."}],
}


def run(llm: LLM, task: Any) -> tuple[float, list[int], dict[str, int]]:
    """Seconds, what was said, and the engine's counts of it."""
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)
    totals = llm._parts.engine.totals
    names = ("steps", "drafts", "draft_tokens", "accepted_tokens")
    before = {name: getattr(totals, name) for name in names}
    start = time.perf_counter()
    result = (
        llm.generate(task, params, use_tqdm=False) if isinstance(task, str) else llm.chat(task, params, use_tqdm=False)
    )
    seconds = time.perf_counter() - start
    return seconds, result[0].outputs[0].token_ids, {name: getattr(totals, name) - before[name] for name in names}


def compare(plain: LLM, guessing: LLM, task: Any, rounds: int) -> dict[str, Any]:
    """The best of some rounds of each, in turns."""
    times: dict[str, list[float]] = {"plain": [], "guessing": []}
    for _ in range(rounds + 1):
        for name, llm in (("plain", plain), ("guessing", guessing)):
            seconds, said, counts = run(llm, task)
            times[name].append(seconds)
            if name == "plain":
                wanted = said
    best = {name: min(found[1:]) for name, found in times.items()}
    agreed = next((i for i, (a, b) in enumerate(zip(said, wanted, strict=True)) if a != b), TOKENS)
    return {
        "tokens/s": round(TOKENS / best["plain"], 1),
        "tokens/s, guessing": round(TOKENS / best["guessing"], 1),
        "speed-up": round(best["plain"] / best["guessing"], 2),
        "steps": counts["steps"],
        "guessed": counts["draft_tokens"],
        "accepted": counts["accepted_tokens"],
        "accepted share": round(counts["accepted_tokens"] / max(counts["draft_tokens"], 1), 3),
        "tokens until the two differ": agreed,
    }


def main() -> None:
    """Print, and perhaps keep, the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    sizes: dict[str, Any] = {"max_model_len": 1024, "max_num_seqs": 2}
    with LLM("smollm2", **sizes) as plain, LLM("smollm2", speculative_config=CONFIG, **sizes) as guessing:
        tasks = {name: compare(plain, guessing, task, asked.rounds) for name, task in TASKS.items()}
    report = {
        "speculative_config": CONFIG,
        "output tokens": TOKENS,
        "tasks": tasks,
    }
    print(json.dumps(report, indent=2))
    save(asked.output, report)


if __name__ == "__main__":
    main()
