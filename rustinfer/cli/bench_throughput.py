"""`rustinfer bench throughput`: requests together, from one to as many as are asked for."""

from __future__ import annotations

import time
from argparse import Namespace

from .. import LLM
from .bench_measure import greedy, open_for_measuring, prompt, require
from .chart import draw
from .facts import report

RATES = ("seconds", "requests/s", "output tokens/s", "prompt and output tokens/s")


def throughput(args: Namespace) -> int:
    """Print requests and tokens per second for every number of requests; draw them where a file is named."""
    with open_for_measuring(args) as llm:
        llm.generate([{"prompt_token_ids": prompt(llm, args.input_len)}], greedy(2), use_tqdm=False)
        rows = [measure(llm, number, args) for number in numbers(args.num_prompts)]
    lengths = {"num_prompts": args.num_prompts, "input_len": args.input_len, "output_len": args.output_len}
    result = {"model": args.model, **lengths, **rows[-1], "together": rows}
    title = f"{args.model}: {args.input_len} tokens in, {args.output_len} out"
    shown = [(row["together"], *(f"{row[rate]:.2f}" for rate in RATES)) for row in rows]
    report(args, result, ("requests together", *RATES), shown, title=title)
    if args.plot:
        points = [(float(row["together"]), row["output tokens/s"]) for row in rows]
        draw(args.plot, title, "requests together", "output tokens/s", {"rustinfer": points})
    return 0


def numbers(most: int) -> list[int]:
    """1, 4, 16, ... and the most."""
    found = [1]
    while found[-1] * 4 < most:
        found.append(found[-1] * 4)
    return found if most == 1 else [*found, most]


def measure(llm: LLM, number: int, args: Namespace) -> dict[str, float]:
    """The rates of so many requests, all handed over at once."""
    prompts = [{"prompt_token_ids": prompt(llm, args.input_len, seed)} for seed in range(number)]
    start = time.perf_counter()
    results = llm.generate(prompts, greedy(args.output_len), use_tqdm=False)
    seconds = time.perf_counter() - start
    made = sum(len(result.outputs[0].token_ids) for result in results)
    require(made, number * args.output_len)
    rates = (seconds, number / seconds, made / seconds, (number * args.input_len + made) / seconds)
    return {"together": number, **dict(zip(RATES, rates, strict=True))}
