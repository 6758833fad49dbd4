"""`rustinfer plugins`: every entry point that is ours to load, what it adds, or why it did not load."""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from .output import as_json, table
from .parser import examples

if TYPE_CHECKING:
    from ..registry import PluginRecord

COLUMNS = ("plugin", "distribution", "version", "state", "adds", "error")


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.epilog = examples("rustinfer plugins", "RUSTINFER_DISABLE_PLUGINS=acme rustinfer plugins")


def run(args: Namespace) -> int:
    """Print the table. A plugin that failed is a row of it, not a failure of this verb."""
    records = collect()
    if args.json:
        as_json([asdict(record) for record in records])
    else:
        table(COLUMNS, map(_row, records))
    return 0


def collect() -> list[PluginRecord]:
    """The record of every entry point, with the verbs it adds to the command line."""
    from ..registry import load_plugins
    from .extensions import commands

    # What failed stands in the records: the log would say it a second time.
    with silence(logging.getLogger("rustinfer")):
        plugins = load_plugins(strict=False)
        added = commands(plugins)
    verbs = {owner: [f"verb {name}" for name in names] for owner, names in added.owners.items()}
    return [
        replace(
            record,
            provides=(*record.provides, *verbs.get(record.name, ())),
            state="failed" if record.name in added.failures else record.state,
            error=added.failures.get(record.name, record.error),
        )
        for record in plugins.records
    ] + _of_the_server()


def _of_the_server() -> list[PluginRecord]:
    """The formats that servers load."""
    from ..registry import PluginRecord
    from ..server import reasoning
    from ..server.formats import tried
    from ..server.tools import format as tools

    found = [("tool format", each) for each in tried(tools.GROUP, tools.ToolFormat)]
    found += [("reasoning format", each) for each in tried(reasoning.GROUP, reasoning.ReasoningFormat)]
    return [
        PluginRecord(
            each.point.name,
            each.point.value,
            each.point.dist.name if each.point.dist else "",
            each.point.dist.version if each.point.dist else "",
            "loaded" if each.format else "failed" if each.error else "disabled",
            each.error,
            provides=(f"{kind} {each.format.name}",) if each.format else (),
        )
        for kind, each in found
    ]


@contextmanager
def silence(log: logging.Logger) -> Iterator[None]:
    """Let a logger and those below it say nothing for a while."""
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _row(record: PluginRecord) -> tuple[str, ...]:
    return (record.name, record.distribution, record.version, record.state, _adds(record), record.error)


def _adds(record: PluginRecord) -> str:
    """`op a, op b, model c` as `op a, b; model c`; for a plugin that only has run-time hooks, their names."""
    kinds: dict[str, list[str]] = {}
    for thing in record.provides:
        kind, _, name = thing.rpartition(" ")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items()) or ", ".join(record.hooks)
