"""`rustinfer ops`: what there is, which kernel runs where and why, and whether a back end is right."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module

from ..engine.options import add_arguments
from ..flags import word
from .parser import examples


def configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="list|why|check|bench", required=True)
    listing = actions.add_parser("list", help="every op, its signature, and the back ends that have a kernel for it")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.epilog = examples("rustinfer ops list", "rustinfer ops list --json")
    _configure_why(actions.add_parser("why", aliases=["explain"], help="which kernel runs at each site of a model"))
    check = actions.add_parser("check", help="run the conformance suite on a back end")
    check.add_argument("backend", metavar="BACKEND", help="the name of a back end")
    check.add_argument(
        "--op", action="append", type=word, default=[], metavar="NAME", help="check this op only (may be repeated)"
    )
    check.epilog = examples("rustinfer ops check cpu", "rustinfer ops check acme --op rms_norm")
    from . import ops_bench

    ops_bench.configure(actions.add_parser("bench", help="measure each back end's kernel for an op at one size"))
    parser.epilog = examples(
        "rustinfer ops list",
        "rustinfer ops why smollm2 --op attention",
        "rustinfer ops why smollm2 --pin attention=reference",
        "rustinfer ops check cpu",
        "rustinfer ops bench linear --shape rows=8,columns=2048,outputs=8192",
    )


def _configure_why(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model, loaded and bound as the engine would")
    parser.add_argument("--op", type=word, metavar="NAME", help="show the bindings of this op only")
    parser.add_argument("--site", type=word, metavar="TEXT", help="show the sites whose name has this text in it")
    parser.add_argument("--all", action="store_true", help="a row for each site, though layers have the same answer")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.epilog = examples(
        "rustinfer ops why smollm2 --op linear",
        "rustinfer ops why smollm2 --site layers.0.",
        "rustinfer ops why llama-3.2-1b --load-format dummy --prefer acme",
    )
    add_arguments(parser)


def run(args: Namespace) -> int:
    name = args.action.replace("explain", "why")
    return int(import_module(f".ops_{name}", __package__).run(args))
