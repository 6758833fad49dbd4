"""Plugins that misbehave, as pip would have installed them."""

from __future__ import annotations

from pathlib import Path

from tests.plugins.site import write
from tests.plugins.test_broken import OP, PLUGINS

RAISES = "raise ImportError('not today')"
EXITS = "import sys; sys.exit(0)"
DYING = """
import time
from rustinfer import hookimpl
from rustinfer.engine import watchdog

watchdog.HANG_SECONDS = 3.0
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


def site(folder: Path) -> Path:
    """A folder for PYTHONPATH: plugins that cannot be loaded, and one that goes wrong at certain tokens."""
    write(folder, "aaa_raises", RAISES)
    write(folder, "aaa_exits", EXITS)
    write(folder, "aaa_twin", OP)
    write(folder, "aaa_other_abi", PLUGINS["g_version"])
    write(folder, "aaa_dying", DYING)
    return folder
