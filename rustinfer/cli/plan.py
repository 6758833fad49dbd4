"""`rustinfer plan`: what a model would take of this machine, and what it may give, before it is served."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from ..engine.options import Options, add_arguments
from ..errors import UserError
from .output import as_json, table
from .parser import examples

if TYPE_CHECKING:
    from ..engine.forecast import Forecast

CONTEXT = 512
"""Tokens that each sequence is taken to have where speed is foretold."""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="directory, .gguf, hub id, alias or shape; must be here already")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_arguments(parser)
    parser.epilog = examples(
        "rustinfer plan smollm2", "rustinfer plan llama-3.1-8b --load-format dummy --max-model-len 8192"
    )


def run(args: Namespace) -> int:
    """Print memory, concurrency, speed and kernels. Fetches nothing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    options = Options.of(args)
    _refuse_to_fetch(args.model)
    import torch

    from ..engine.forecast import forecast
    from ..models.sources import open_checkpoint
    from ..registry import load_plugins

    dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype)
    # Of random weights only the shapes matter here, and those of one layer are made on the CPU.
    checkpoint = open_checkpoint(args.model, load_format=options.load_format, dtype=dtype)
    show(args.model, forecast(checkpoint, options, load_plugins()), as_data=args.json)
    return 0


def _refuse_to_fetch(model: str) -> None:
    from ..cache import cache_root
    from ..models.aliases import ALIASES

    alias = ALIASES.get(model)
    if alias is not None and not (cache_root() / alias.file).exists():
        raise UserError(f"{model} is not on this machine, and nothing is fetched here: run `rustinfer pull {model}`")


def show(model: str, made: Forecast, *, as_data: bool) -> None:
    from .ops_why import as_row, cells

    if as_data:
        kernels = [as_row(binding) for binding in made.bindings]
        return as_json({"model": model, **{name: value for name, value, _ in figures(made)}, "kernels": kernels})
    table(("", "", ""), [(name, f"{value:,}", unit) for name, value, unit in figures(made)], title=model)
    return table(("site", "op", "steps", "kernel", "not chosen"), cells(made.bindings))


def figures(made: Forecast) -> list[tuple[str, float, str]]:
    """Name, value and unit of each."""
    return [
        ("weights", made.stored >> 20, "MiB"),
        ("free beside them", made.free >> 20, "MiB"),
        ("scratch of the kernels", made.scratch >> 20, "MiB, the same for all layers"),
        ("cache", made.cache >> 20, "MiB"),
        ("cache, tokens", made.size.pages * made.page, "tokens"),
        ("context", made.size.context, "tokens"),
        ("concurrency", round(made.concurrency, 2), "sequences of the whole context"),
        ("memory bandwidth", round(made.roof.bandwidth / 1e9, 1), "GB/s, measured"),
        ("speed of one", round(made.bound(1, CONTEXT), 1), f"tokens/s at most, at {CONTEXT} tokens of context"),
        (
            f"speed of {made.sequences}",
            round(made.bound(made.sequences, CONTEXT), 1),
            "tokens/s at most, where memory and not arithmetic is the limit",
        ),
    ]
