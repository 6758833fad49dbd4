"""`rustinfer bench`: latency of one request, throughput of many, and this CPU beside llama.cpp."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ..engine.options import add_arguments
from .parser import examples
from .speaker import DEFAULT_MODEL


def configure(parser: ArgumentParser) -> None:
    """Add the three subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="latency|throughput|cpu", required=True)
    latency = actions.add_parser("latency", help="one request at a time: time to first token, time per token")
    _lengths(latency, inputs=128, outputs=128)
    _runs(latency)
    throughput = actions.add_parser("throughput", help="many requests together: tokens per second")
    _lengths(throughput, inputs=128, outputs=128)
    throughput.add_argument("--num-prompts", type=positive, default=64, metavar="N", help="requests (default: 64)")
    cpu = actions.add_parser("cpu", help="decode and prefill speed, beside llama-cpp-python where it is installed")
    _lengths(cpu, inputs=512, outputs=128)
    _runs(cpu)
    for action in (latency, throughput, cpu):
        action.add_argument("model", nargs="?", default=DEFAULT_MODEL, metavar="MODEL", help="default: smollm2")
        action.add_argument("--json", action="store_true", help="print JSON instead of a table")
        add_arguments(action)
    cpu.epilog = examples("rustinfer bench cpu smollm2", "rustinfer bench cpu model.gguf --threads 4 --json")
    parser.epilog = examples(
        "rustinfer bench latency smollm2",
        "rustinfer bench throughput smollm2 --num-prompts 32 --input-len 256 --output-len 64",
        "rustinfer bench cpu smollm2 --json",
    )


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _lengths(parser: ArgumentParser, *, inputs: int, outputs: int) -> None:
    parser.add_argument(
        "--input-len", type=positive, default=inputs, metavar="N", help=f"tokens of a prompt ({inputs})"
    )
    parser.add_argument("--output-len", type=positive, default=outputs, metavar="N", help=f"tokens to make ({outputs})")


def _runs(parser: ArgumentParser) -> None:
    parser.add_argument("--num-iters", type=positive, default=5, metavar="N", help="measured runs (5), after one more")


def run(args: Namespace) -> int:
    """Run one of the subcommands."""
    if args.action == "latency":
        from .bench_latency import latency as action
    elif args.action == "throughput":
        from .bench_throughput import throughput as action
    else:
        from .bench_cpu import cpu as action
    return action(args)
