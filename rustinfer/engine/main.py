"""`rustinfer-engine`: one model in a process of its own, answering servers over a socket."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from .. import bytecode, flags, logs
from ..errors import UserError
from ..flags import COMMON, WIRE, word
from ..protocol.address import check, private_address, socket_path
from ..protocol.curve import WireKey, make_key
from ..settings import settle
from ..version import __version__
from .ahead import collector_at_rest, open_gpu
from .machine import give_way
from .options import Options, add_arguments

log = logging.getLogger("rustinfer.engine")
QUEUE = 1024
"""Sequences that may wait where nothing else is asked for: what comes later is better refused at once."""


def parser() -> argparse.ArgumentParser:
    """The flags of `rustinfer-engine`."""
    made = argparse.ArgumentParser(
        prog="rustinfer-engine",
        description="Run a model for servers that connect to --endpoint.",
        epilog="example: rustinfer-engine smollm2 --endpoint ipc:///run/user/1000/rustinfer/engine",
        allow_abbrev=False,
    )
    made.add_argument(
        "model", type=word, help="a directory, a .gguf file, a hub id org/name, or an alias such as smollm2"
    )
    made.add_argument(
        "--endpoint", type=word, metavar="ADDRESS", help="ipc:///PATH or tcp://HOST:PORT (default: private)"
    )
    made.add_argument("--version", action="version", version=f"rustinfer {__version__}")
    add_arguments(made)
    flags.add_arguments(made, "both", (*WIRE, *COMMON))
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns 0 when asked to stop, 2 or 3 for a UserError, 1 when the engine is lost."""
    args = parser().parse_args(argv)
    try:
        settle(args, (*WIRE, *COMMON))
        logs.configure("engine", args.log_level, args.log_format)
        with ExitStack() as stack:
            options = Options.of(args)
            options = replace(options, max_num_queued_reqs=options.max_num_queued_reqs or QUEUE)
            address = args.endpoint or _own_address(stack)
            check(address, key=bool(args.wire_key_file))
            key = make_key(Path(args.wire_key_file)) if args.wire_key_file else None
            return run(args.model, options, address, key)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    except (Exception, SystemExit) as error:
        # One line for people; where it happened is for those who ask.
        log.debug("the engine is lost", exc_info=True)
        sys.stderr.write(f"error: the engine stopped: {type(error).__name__}: {error}\n")
        return 1


def _own_address(stack: ExitStack) -> str:
    """A fresh private address, whose directory goes when the stack ends."""
    address = private_address()
    stack.callback(shutil.rmtree, socket_path(address).parent, ignore_errors=True)
    return address


def run(model: str, options: Options, address: str, key: WireKey | None = None) -> int:
    """Load the model, listen, and serve until told to stop."""
    started = time.perf_counter()
    give_way()
    bytecode.keep("torch")
    open_gpu(options.device)
    with collector_at_rest():
        from ..protocol.router import EngineChannel
        from .build import load, on_device
        from .card import raised_rows
        from .loop import EngineLoop
        from .memory import measure
        from .watchdog import Watchdog

        imported = time.perf_counter() - started
        options = on_device(options)
        loaded = load(model, options, chores=False)
    card = loaded.card
    channel = EngineChannel(
        address, card, epoch=secrets.randbits(63), build=__version__, fingerprint=loaded.fingerprint, key=key
    )
    loop = EngineLoop(
        loaded.engine,
        channel,
        memory=lambda: measure(options.device),
        raised=lambda: raised_rows(loaded.guard.failures),
    )
    total = time.perf_counter() - started
    log.info(
        "%s: %s, %d tokens of context, %d of cache", card.id, card.dtype, card.context, loaded.engine.admission.capacity
    )
    if scratch := loaded.workspace.nbytes:
        outputs, whole = loaded.workspace.pool_nbytes, measure(options.device).device
        share = 100 * (scratch + outputs) / (whole or scratch + outputs)
        told = "workspace: %d MiB of scratch, %d MiB of what graphs return, %.1f %% of the device's memory"
        log.info(told, scratch >> 20, outputs >> 20, share)
    log.info("ready in %.1f s (import %.1f s, %s), pid %d at %s", total, imported, loaded.phases, os.getpid(), address)
    try:
        with Watchdog(lambda: loop.progress):
            loop.run()
    finally:
        channel.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
