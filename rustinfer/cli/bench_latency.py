"""`rustinfer bench latency`: one request at a time."""

from __future__ import annotations

from argparse import Namespace
from statistics import median

from .bench_measure import open_for_measuring, prompt, time_one
from .facts import report


def latency(args: Namespace) -> int:
    """Print the median, the best and the worst of the runs."""
    with open_for_measuring(args) as llm:
        ids = prompt(llm, args.input_len)
        time_one(llm, ids, args.output_len)
        runs = [time_one(llm, ids, args.output_len) for _ in range(args.num_iters)]
    measures = {
        "first token, ms": [run.first * 1e3 for run in runs],
        "each further token, ms": [run.each * 1e3 for run in runs],
        "whole request, ms": [(run.first + run.each * (run.tokens - 1)) * 1e3 for run in runs],
    }
    rows = {name: (median(values), min(values), max(values)) for name, values in measures.items()}
    shape = {"model": args.model, "input_len": args.input_len, "output_len": args.output_len, "runs": len(runs)}
    result = shape | {name: dict(zip(("median", "best", "worst"), row, strict=True)) for name, row in rows.items()}
    title = f"{args.model}: {args.input_len} tokens in, {args.output_len} out, {len(runs)} runs"
    shown = [(name, *(f"{value:.2f}" for value in row)) for name, row in rows.items()]
    report(args, result, ("", "median", "best", "worst"), shown, title=title)
    return 0
