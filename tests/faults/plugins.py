"""Plugins that misbehave, as pip would have installed them."""

from __future__ import annotations

from pathlib import Path

from tests.plugins.site import write
from tests.plugins.test_broken import OP, PLUGINS

RAISES = "raise ImportError('not today')"
EXITS = "import sys; sys.exit(0)"
DYING = """
import os
import time
from rustinfer import hookimpl
from rustinfer.engine import watchdog

watchdog.HANG_SECONDS = float(os.environ.get("HANG_SECONDS", watchdog.HANG_SECONDS))
WHEN = {2: MemoryError, 3: ZeroDivisionError, 4: SystemExit}

@hookimpl
def rustinfer_wrap(binding):
    if binding.op.name not in ("embedding", "decode_step"):
        return None
    inner = binding.call

    def call(tokens, *rest):
        # Rows that take no part in a step of decoding have no length.
        said = tokens[rest[3] > 0] if rest[3:] else tokens
        for token, error in WHEN.items():
            if (said == token + 1).any():
                raise error("as told")
        if (said == 6).any():
            time.sleep(1000)
        return inner(tokens, *rest)

    return call
"""
SLOW = """
import time
from rustinfer import hookimpl

@hookimpl
def rustinfer_wrap(binding):
    if binding.op.name not in ("embedding", "decode_step"):
        return None
    inner = binding.call

    def call(*args):
        time.sleep(SECONDS)
        return inner(*args)

    return call
"""
RAISING = """
from rustinfer import Backend, Requires, hookimpl, ops

acme = Backend("acme", requires=Requires("cpu"))

@acme.kernel(ops.embedding)
def embedding(tokens, *, weight):
    if (tokens == 3).any():
        raise ZeroDivisionError("as told")
    return weight[tokens]

@hookimpl
def rustinfer_backends():
    return [acme]
"""


def slow(folder: Path, seconds: float) -> Path:
    """A folder for PYTHONPATH: every step takes so long, so that what happens meanwhile can be told in steps."""
    write(folder, "aaa_slow", SLOW.replace("SECONDS", str(seconds)))
    return folder


def raising(folder: Path) -> Path:
    """A folder for PYTHONPATH: a back end whose one kernel raises at a certain token."""
    write(folder, "aaa_raising", RAISING)
    return folder


def site(folder: Path) -> Path:
    """A folder for PYTHONPATH: plugins that cannot be loaded, and one that goes wrong at certain tokens."""
    write(folder, "aaa_raises", RAISES)
    write(folder, "aaa_exits", EXITS)
    write(folder, "aaa_twin", OP)
    write(folder, "aaa_other_abi", PLUGINS["g_version"])
    write(folder, "aaa_dying", DYING)
    return folder
