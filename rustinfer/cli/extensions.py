"""Verbs that plugins add.

Plugins are asked only when a verb is not built in, or by `rustinfer plugins`: loading them imports torch, and
`rustinfer --help`, `--version` and a misspelt verb have to answer at once. So `--help` names the built-in verbs and
points to `rustinfer plugins` for the rest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from .commands import Commands, Verb

if TYPE_CHECKING:
    from ..registry import Plugins

log = logging.getLogger(__name__)
OWN = "rustinfer"


@dataclass
class Added:
    """Verbs by name, those of each plugin, and the error of each plugin that failed at adding its own."""

    verbs: dict[str, Verb] = field(default_factory=dict)
    owners: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def installed() -> bool:
    """Whether anyone but rustinfer itself has registered a plugin; imports none of them."""
    return any(point.dist is None or point.dist.name != OWN for point in entry_points(group="rustinfer"))


def commands(plugins: Plugins) -> Added:
    """Ask each plugin for its verbs, by itself: one that fails is named, adds nothing, and the others go on."""
    added = Added()
    for name, plugin in plugins.manager.list_name_plugin():
        found = Commands(taken=added.verbs)
        try:
            plugins.ask(plugin, "rustinfer_cli", commands=found)
        except Exception as error:
            log.error("plugin %s failed to add its verbs: %s: %s", name, type(error).__name__, error)
            added.failures[name] = f"{type(error).__name__}: {error}"
            continue
        if found.verbs:
            added.verbs |= found.verbs
            added.owners[name] = [*found.verbs]
    return added
