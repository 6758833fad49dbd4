"""`rustinfer bench throughput`: many requests together."""

from __future__ import annotations

import time
from argparse import Namespace

from .bench_measure import greedy, open_for_measuring, prompt
from .output import as_json, table


def throughput(args: Namespace) -> int:
    """Print requests and tokens per second."""
    with open_for_measuring(args) as llm:
        prompts = [{"prompt_token_ids": prompt(llm, args.input_len, seed)} for seed in range(args.num_prompts)]
        llm.generate(prompts[:1], greedy(2), use_tqdm=False)
        start = time.perf_counter()
        results = llm.generate(prompts, greedy(args.output_len))
        seconds = time.perf_counter() - start
    made = sum(len(result.outputs[0].token_ids) for result in results)
    asked = args.num_prompts * args.input_len
    rates = {
        "requests/s": len(results) / seconds,
        "output tokens/s": made / seconds,
        "prompt and output tokens/s": (asked + made) / seconds,
    }
    if args.json:
        lengths = {"num_prompts": args.num_prompts, "input_len": args.input_len, "output_len": args.output_len}
        as_json({"model": args.model, **lengths, "seconds": seconds, **rates})
    else:
        title = f"{args.model}: {args.num_prompts} x ({args.input_len} tokens in, {args.output_len} out)"
        table(("", ""), [(name, f"{rate:.2f}") for name, rate in rates.items()], title=title)
    return 0
