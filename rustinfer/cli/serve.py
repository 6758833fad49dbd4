"""`rustinfer serve`: an engine and a server for one model, watched over and started again when they die."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..engine.options import Options
from ..errors import UserError
from ..flags import COMMON, ENGINE, SERVER, add_arguments, word
from ..settings import settle
from .parser import examples
from .speaker import DEFAULT_MODEL


def configure(parser: ArgumentParser) -> None:
    words = "directory, .gguf, hub id or alias (default: smollm2)"
    parser.add_argument("model", nargs="?", type=word, metavar="MODEL", help=words)
    parser.add_argument("--model", dest="named", type=word, metavar="MODEL", help="the same, as a flag")
    add_arguments(parser, "server", SERVER)
    add_arguments(parser, "engine", ENGINE)
    add_arguments(parser, "both", COMMON)
    parser.epilog = examples(
        "rustinfer serve smollm2",
        "rustinfer serve model.gguf --port 9000 --api-key secret",
        "rustinfer serve --config serve.toml",
        "rustinfer serve org/name --max-model-len 4096 --dtype float32 --pin attention=reference",
    )


def run(args: Namespace) -> int:
    """Serve until a signal. A value that cannot be right is told before any process is started."""
    args.model, args.named = args.model or args.named, args.named or args.model
    settle(args, (*SERVER, *ENGINE, *COMMON))
    args.model = model_of(args)
    Options.of(args)
    from ..supervisor import serve

    return serve(args)


def model_of(args: Namespace) -> str:
    """The model, given by position or by flag. Raises UserError for two different ones."""
    if args.model and args.named and args.model != args.named:
        raise UserError(f"two models are named, {args.model} and {args.named}: one engine serves one model")
    return str(args.model or args.named or DEFAULT_MODEL)
