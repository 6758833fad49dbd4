"""`rustinfer bench cpu`: decode and prefill on this CPU, beside llama-cpp-python on the same file in the same run.

Both get the same token ids and the same number of threads, and the runs of the two alternate, so that a machine that
slows down slows both. Ours is measured through the whole engine, sampling included; llama.cpp's is its evaluation
alone, as its own benchmark does it, which is a little in its favour.
"""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from ..errors import Refused
from .bench_measure import open_for_measuring, prompt, time_one
from .facts import report

SHORT = 16  # tokens before the decode that is measured


@dataclass(frozen=True)
class Speed:
    """Tokens per second, one sequence at a time."""

    decode: float
    prefill: float


Measure = Callable[[Sequence[int], int], Speed]


def cpu(args: Namespace) -> int:
    """Print both engines' speeds and their ratio; ours alone where llama-cpp-python is not installed."""
    from ..engine.machine import physical_cores

    args.threads = args.threads or physical_cores()
    with open_for_measuring(args) as llm:
        ids = prompt(llm, args.input_len)

        def ours(ids: Sequence[int], tokens: int) -> Speed:
            decode = time_one(llm, ids[:SHORT], tokens)
            return Speed(1 / decode.each, len(ids) / time_one(llm, ids, 1).first)

        engines: dict[str, Measure] = {"rustinfer": ours}
        if importlib.util.find_spec("llama_cpp"):
            engines["llama.cpp"] = peer(args)
        speeds = alternate(engines, ids, args.output_len, args.num_iters)
    _report(args, speeds)
    return 0


def peer(args: Namespace) -> Measure:
    from .llamacpp import LlamaCpp

    return LlamaCpp(gguf_file(args.model), args.threads, args.input_len, args.output_len).measure


def gguf_file(model: str) -> Path:
    """The GGUF behind a model reference. Raises Refused where the model is none."""
    from ..models.sources import locate

    path = locate(model)
    if path.suffix != ".gguf":
        raise Refused(f"{model} is no .gguf file, which is all that llama.cpp reads: name one, or an alias of one")
    return path


def alternate(engines: dict[str, Measure], ids: Sequence[int], tokens: int, runs: int) -> dict[str, Speed]:
    """Each engine's median speeds over `runs` rounds in which all take their turn, after one round that warms up."""
    rounds = [{name: measure(ids, tokens) for name, measure in engines.items()} for _ in range(runs + 1)][1:]
    return {
        name: Speed(median([r[name].decode for r in rounds]), median([r[name].prefill for r in rounds]))
        for name in engines
    }


def ratio(speeds: dict[str, Speed]) -> Speed | None:
    """Ours over llama.cpp's, or None where that is not installed."""
    if "llama.cpp" not in speeds:
        return None
    ours, theirs = speeds["rustinfer"], speeds["llama.cpp"]
    return replace(ours, decode=ours.decode / theirs.decode, prefill=ours.prefill / theirs.prefill)


def _report(args: Namespace, speeds: dict[str, Speed]) -> None:
    over = ratio(speeds)
    shape = {"model": args.model, "threads": args.threads, "input_len": args.input_len, "runs": args.num_iters}
    rates = {name: asdict(speed) for name, speed in speeds.items()}
    result = shape | {"tokens_per_second": rates, "ratio": asdict(over) if over else None}
    rows = [(name, f"{s.decode:.1f}", f"{s.prefill:.1f}") for name, s in speeds.items()]
    if over:
        rows.append(("rustinfer / llama.cpp", f"{over.decode:.2f}", f"{over.prefill:.2f}"))
    title = f"{args.model}, {args.threads} threads, tokens/s, median of {args.num_iters}"
    report(args, result, ("", "decode", f"prefill of {args.input_len}"), rows, title=title)
    if not over and not args.json:
        print("llama-cpp-python is not installed here: pip install llama-cpp-python puts it beside ours.")
