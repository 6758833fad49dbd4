"""Find plugins by entry point, load each in isolation, and fill a Registry."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from threading import Timer
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from . import hookspecs
from .errors import DefinitionError
from .hookspecs import API_VERSION, PROJECT
from .registry import ModelBuilder, Registry

if TYPE_CHECKING:
    from .backend import Backend
    from .binder import Binding
    from .op import Op

log = logging.getLogger(__name__)
SLOW_SECONDS = 10.0
SLOW = "plugin %s is still loading after %.0f s; to do without it, set RUSTINFER_DISABLE_PLUGINS=%s"


class Point(Protocol):
    """What is needed of an `importlib.metadata.EntryPoint`."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    def load(self) -> Any: ...


@dataclass(frozen=True)
class PluginRecord:
    """One entry point and what became of it: state is "loaded", "failed" or "disabled"."""

    name: str
    value: str
    distribution: str = ""
    version: str = ""
    state: str = "loaded"
    error: str = ""
    hooks: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()


@dataclass
class Plugins:
    """A filled registry, the records of every entry point, and the manager that calls the run-time hooks."""

    registry: Registry
    records: list[PluginRecord] = field(default_factory=list)
    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(PROJECT))

    def wrap(self, binding: Binding) -> Callable[..., Any] | None:
        """What the first plugin that wants to makes of a binding's callable."""
        wrapped: Callable[..., Any] | None = self.manager.hook.rustinfer_wrap(binding=binding)
        return wrapped

    def ask(self, plugin: object, hook: str, **given: Any) -> list[Any]:
        """What one plugin's implementation of a hook returns, by itself in a list: an empty one where it has none."""
        others = [other for other in self.manager.get_plugins() if other is not plugin]
        answers: list[Any] = self.manager.subset_hook_caller(hook, others)(**given)
        return answers

    def failures(self) -> list[PluginRecord]:
        """The plugins that did not load."""
        return [record for record in self.records if record.state == "failed"]


def load_plugins(points: Iterable[Point] | None = None, *, strict: bool | None = None) -> Plugins:
    """Load every entry point of the group `rustinfer`, each by itself.

    A plugin that fails is one ERROR line and one record; with `strict` (default: the environment variable
    RUSTINFER_STRICT_PLUGINS) it raises. RUSTINFER_DISABLE_PLUGINS=a,b leaves plugins out by entry-point name.
    """
    strict = bool(os.environ.get("RUSTINFER_STRICT_PLUGINS")) if strict is None else strict
    blocked = set(filter(None, os.environ.get("RUSTINFER_DISABLE_PLUGINS", "").split(",")))
    plugins = Plugins(Registry())
    plugins.manager.add_hookspecs(hookspecs)
    found = list(entry_points(group=PROJECT) if points is None else points)
    for point in sorted(found, key=_own_first):
        plugins.records.append(_load(plugins, point, blocked, strict))
    unknown = blocked - {point.name for point in found}
    for name in sorted(unknown - _formats()) if unknown else ():
        log.warning("RUSTINFER_DISABLE_PLUGINS names %s, but no such plugin is installed", name)
    return plugins


def _formats() -> set[str]:
    """What other groups of ours bring: other processes load it, and leave it out by the same variable."""
    groups = [group for group in entry_points().groups if group.startswith(f"{PROJECT}.")]
    return {point.name for group in groups for point in entry_points(group=group)}


def _own_first(point: Point) -> tuple[bool, str]:
    # The distribution that defines the ops comes first, so that a duplicate is blamed on the newcomer.
    return _distribution(point)[0] != PROJECT, point.name


def _distribution(point: Point) -> tuple[str, str]:
    dist = point.dist if isinstance(point, EntryPoint) else None
    return (dist.name, dist.version) if dist else ("", "")


def _load(plugins: Plugins, point: Point, blocked: set[str], strict: bool) -> PluginRecord:
    record = PluginRecord(point.name, point.value, *_distribution(point))
    if point.name in blocked:
        return replace(record, state="disabled")
    waiting = Timer(SLOW_SECONDS, log.warning, (SLOW, point.name, SLOW_SECONDS, point.name))
    waiting.daemon = True
    waiting.start()
    try:
        hooks, provides = _register(plugins, point)
    except (Exception, SystemExit) as error:  # a plugin that exits is as broken as one that raises
        if strict:
            raise
        log.error("plugin %s (%s) failed to load: %s: %s", point.name, point.value, type(error).__name__, error)
        return replace(record, state="failed", error=f"{type(error).__name__}: {error}")
    finally:
        waiting.cancel()
    return replace(record, hooks=hooks, provides=provides)


def _register(plugins: Plugins, point: Point) -> tuple[tuple[str, ...], tuple[str, ...]]:
    manager, plugin = plugins.manager, point.load()
    _check_version(plugin)
    if manager.has_plugin(point.name):
        raise DefinitionError(f"an entry point named {point.name} is already loaded")
    manager.register(plugin, point.name)
    try:
        manager.check_pending()
        hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
        return hooks, _collect(plugins, plugin, point.name)
    except (Exception, SystemExit):
        manager.unregister(plugin)
        raise


def _check_version(plugin: object) -> None:
    wanted = getattr(plugin, "API_VERSION", API_VERSION)
    if wanted != API_VERSION:
        raise DefinitionError(f"it was written for plugin API {wanted}, this rustinfer has {API_VERSION}")


def _collect(plugins: Plugins, plugin: object, owner: str) -> tuple[str, ...]:
    """Ask one plugin what it brings, and add all of it or nothing."""
    ops: list[Op] = [op for batch in plugins.ask(plugin, "rustinfer_ops") for op in batch]
    backends: list[Backend] = [backend for batch in plugins.ask(plugin, "rustinfer_backends") for backend in batch]
    models: dict[str, ModelBuilder] = dict(
        pair for batch in plugins.ask(plugin, "rustinfer_models") for pair in batch.items()
    )
    plugins.registry.add(ops, backends, models, owner)
    named = [f"op {o.name}" for o in ops] + [f"back end {b.name}" for b in backends] + [f"model {m}" for m in models]
    return tuple(named)
