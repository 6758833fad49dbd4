"""`rustinfer pull`: fetch a model into the cache, with a progress bar."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from .parser import examples


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an alias (smollm2) or a hub id (org/name)")
    parser.epilog = examples("rustinfer pull smollm2", "RUSTINFER_CACHE=/data/models rustinfer pull smollm2")


def run(args: Namespace) -> int:
    """Fetch it, check it, and print where it is."""
    from ..models.download import pull

    print(pull(args.model))
    return 0
