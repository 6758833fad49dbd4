"""A Backend is a named set of kernels from one source; a Kernel implements one Op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .errors import DefinitionError
from .op import Function, Op
from .target import Target

VARIES = "may give a row other bits when there are other rows, which --deterministic rules out"
Refusal = str | None  # None means "I can"; otherwise why not, in words a person can act on
When = Callable[[Mapping[str, Any]], Refusal]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Requires:
    """What can be checked from the target alone. An empty field asks for nothing."""

    device: str
    dtypes: frozenset[torch.dtype] = frozenset()
    min_sm: tuple[int, int] | None = None
    max_sm: tuple[int, int] | None = None
    max_rows: int | None = None
    decode: bool = False

    def refusal(self, target: Target) -> Refusal:
        """Why the target is not enough, or None."""
        if target.device.type != self.device:
            return f"runs on {self.device}, not on {target.device.type}"
        if self.dtypes and target.dtype not in self.dtypes:
            return f"computes in {', '.join(sorted(map(_name, self.dtypes)))}, not in {_name(target.dtype)}"
        return self._sm_refusal(target.sm or (0, 0)) or self._rows_refusal(target)

    def _sm_refusal(self, sm: tuple[int, int]) -> Refusal:
        if self.min_sm and sm < self.min_sm:
            return f"needs compute capability {self.min_sm[0]}.{self.min_sm[1]} or newer, this is {sm[0]}.{sm[1]}"
        if self.max_sm and sm > self.max_sm:
            return f"needs compute capability {self.max_sm[0]}.{self.max_sm[1]} or older, this is {sm[0]}.{sm[1]}"
        return None

    def _rows_refusal(self, target: Target) -> Refusal:
        if self.max_rows is not None and (target.rows is None or target.rows > self.max_rows):
            asked = "any number" if target.rows is None else f"up to {target.rows}"
            return f"takes at most {self.max_rows} rows, the binding asks for {asked}"
        if self.decode and not target.decode:
            return "takes one row per sequence, the binding is for mixed steps"
        return None


@dataclass(frozen=True)
class Kernel:
    """One implementation of an op. `build(target, **bound)` runs once and returns what the model calls."""

    op: Op
    backend: str
    build: Function
    requires: Requires
    when: When
    capturable: bool = True
    deterministic: bool = True
    batch_invariant: bool = False

    def refusal(self, target: Target, bound: Mapping[str, Any]) -> Refusal:
        """Why this kernel cannot serve that binding, or None. `when` finds the target beside the bound arguments."""
        if target.invariant and not (self.deterministic and self.batch_invariant):
            return VARIES
        return self.requires.refusal(target) or self.when({**bound, "target": target})


def _always(bound: Mapping[str, Any]) -> Refusal:
    return None


class Backend:
    """A set of kernels under one name (its provenance: "triton", "acme"); `available` says what is missing here."""

    def __init__(self, name: str, *, requires: Requires, available: Callable[[], Refusal] = lambda: None) -> None:
        self.name = name
        self.requires = requires
        self.available = available
        self.kernels: dict[str, Kernel] = {}

    def missing(self) -> Refusal:
        """What `available` says. One that raises stops nobody else: that it does is what is missing."""
        try:
            return self.available()
        except Exception as error:
            return f"cannot tell what it needs: {type(error).__name__}: {error}"

    def kernel(
        self,
        op: Op,
        *,
        requires: Requires | None = None,
        when: When = _always,
        build: bool = False,
        capturable: bool = True,
        deterministic: bool = True,
        batch_invariant: bool = False,
    ) -> Callable[[Function], Function]:
        """Decorator: register a kernel. With build=True the function gets (target, **bound) and returns the callable.

        A `deterministic` kernel gives the same bits again. A `batch_invariant` one, built for an invariant target,
        gives a row the same bits whatever other rows a call has.
        Raises DefinitionError where the signature does not match the op's, or the op already has a kernel here.
        """

        def register(fn: Function) -> Function:
            if op.name in self.kernels:
                raise DefinitionError(f"back end {self.name} already has a kernel for {op.name}")
            (op.check_builder if build else op.check_signature)(fn)
            builder = fn if build else lambda target, **bound: freeze(fn, bound)
            needs = requires or self.requires
            self.kernels[op.name] = Kernel(
                op, self.name, builder, needs, when, capturable, deterministic, batch_invariant
            )
            return fn

        return register


def freeze(fn: Function, bound: Mapping[str, Any]) -> Function:
    """The function with its bound arguments fixed; nothing is looked up when it is called."""
    return partial(fn, **bound) if bound else fn
