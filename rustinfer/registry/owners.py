"""Whose code is running: for the one line that is left to tell when a kernel has taken the device along."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType
from typing import Any, NamedTuple


class Owner(NamedTuple):
    """What was bound, and whose it is."""

    op: str
    backend: str
    plugin: str


_owners: dict[CodeType, Owner] = {}


def own(call: Callable[..., Any], owner: Owner) -> None:
    """Remember whose code a bound callable is. All bindings of a kernel share it, so this grows with kernels alone."""
    code = code_of(call)
    if code is not None:
        _owners[code] = owner


def told_by(frame: FrameType) -> str | None:
    """A frame that runs a bound kernel, in words: op, back end, plugin, and the shapes of what it was given."""
    owner = _owners.get(frame.f_code)
    if owner is None:
        return None
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    given = [
        f"{name} {described(frame.f_locals[name])}" for name in names if hasattr(frame.f_locals.get(name), "shape")
    ]
    whose = f"the back end {owner.backend} ({owner.plugin or 'this process'})"
    return f"in {owner.op} by {whose}" + (f" with {', '.join(given)}" if given else "")


def described(tensor: Any) -> str:
    """Shape and dtype; reading them asks nothing of a device that is lost."""
    return f"{[*tensor.shape]} {str(getattr(tensor, 'dtype', '')).removeprefix('torch.')}".strip()


def code_of(call: Callable[..., Any]) -> CodeType | None:
    """The code of a function, of what a partial calls, or of an object's `__call__`; None where it is not Python's."""
    if isinstance(call, partial):
        return code_of(call.func)
    found = getattr(call, "__code__", None) or getattr(vars(type(call)).get("__call__"), "__code__", None)
    return found if isinstance(found, CodeType) else None
