"""The hooks a plugin may implement. All of them run while plugins load or a model is built, none of them later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from .backend import Backend
    from .binder import Binding
    from .op import Op

PROJECT = "rustinfer"
API_VERSION = 1
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def rustinfer_ops() -> Iterable[Op]:
    """Return the ops this plugin defines. Runs once, when the plugin is loaded."""
    return ()


@hookspec
def rustinfer_backends() -> Iterable[Backend]:
    """Return the back ends (sets of kernels) this plugin provides. Runs once, when the plugin is loaded."""
    return ()


@hookspec
def rustinfer_models() -> Mapping[str, Callable[..., Any]]:
    """Return {architecture name in config.json: model builder}. Runs once, when the plugin is loaded."""
    return {}


@hookspec
def rustinfer_cli(commands: Any) -> None:
    """Add verbs to the command line. Runs when the command line meets a verb that is not built in, or lists them."""


@hookspec(firstresult=True)
def rustinfer_wrap(binding: Binding) -> Callable[..., Any] | None:
    """Return a replacement for `binding.call` (a tracer, a checker, a counter), or None. Runs once per binding."""
