"""What a result file says beside its numbers: the command that made it, and the machine, without its name."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..engine.machine import physical_cores
from ..version import __version__
from .output import as_json, table, write

CPUINFO = Path("/proc/cpuinfo")
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def facts() -> dict[str, Any]:
    """The command line, the machine and the version."""
    return {"command": command(), "machine": machine(), "rustinfer": __version__}


def command(argv: Sequence[str] | None = None) -> str:
    """The command line as one would type it, from the interpreter's own; of absolute paths only the last name."""
    _, first, *rest = argv or sys.orig_argv
    if first != "-m":
        words = [Path(first).name, *rest]
    elif rest[0] == "rustinfer.cli":
        words = ["rustinfer", *rest[1:]]
    else:
        words = ["python", "-m", *rest]
    return shlex.join(Path(word).name if word.startswith("/") else word for word in words)


def machine() -> str:
    """Cores, the CPU's model and the features that matter here."""
    model, has = cpu()
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return ", ".join([f"{physical_cores()} cores", model, *has, load])


def cpu(cpuinfo: Path = CPUINFO) -> tuple[str, list[str]]:
    """The first CPU's model, and which of FEATURES it has."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    of = {key.strip(): value.strip() for key, value in found.items()}
    has = (of.get("flags") or of.get("Features", "")).split()
    return of.get("model name", "unknown CPU"), [feature for feature in FEATURES if feature in has]


def report(
    args: Namespace, result: dict[str, Any], columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str
) -> None:
    """Print a benchmark's result as --json asks, or as a table; write it where --output names a file."""
    if args.json:
        as_json(result)
    else:
        table(columns, rows, title=title)
    save(args.output, result)


def save(path: str | Path | None, result: dict[str, Any]) -> None:
    """Write a result with its facts, where a file is asked for."""
    if path:
        write(str(path), json.dumps(facts() | result, indent=1) + "\n")
