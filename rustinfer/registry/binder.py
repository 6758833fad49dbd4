"""Choose a kernel for each call site, once, while the model is built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from .backend import VARIES, freeze
from .errors import MissingOpError, NoKernelError, UnknownBackendError, UnknownOpError
from .guard import Guard
from .op import Function, Op
from .owners import Owner, own
from .parts import part_of, pinned_part
from .policy import REFERENCE, Policy
from .registry import Registry
from .target import Target

log = logging.getLogger(__name__)
Rejected = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Binding:
    """One call site: the op, the back end whose kernel runs there, and why each earlier candidate does not."""

    op: Op
    backend: str
    site: str
    target: Target
    rejected: Rejected
    capturable: bool
    deterministic: bool
    call: Callable[..., Any]

    def why(self) -> str:
        """The choice in words, one refusal a line."""
        lines = [f"{self.site or '-'}  {self.op.name} -> {self.backend}"]
        return "\n".join(lines + [f"    not {name}: {reason}" for name, reason in self.rejected])


class Binder:
    """`binder.rms_norm(weight=w, eps=1e-5)` returns a plain callable of the op's positional parameters.

    Raises NoKernelError with every refusal, UnknownBackendError and UnknownOpError for a policy that names what
    does not exist. `site` is the caller's name for the place being bound; `bindings` remembers every choice, `guard`
    (one for all binders of an engine) whose kernels raise.
    """

    def __init__(
        self,
        registry: Registry,
        target: Target,
        policy: Policy | None = None,
        wrap: Callable[[Binding], Callable[..., Any] | None] = lambda binding: None,
        guard: Guard | None = None,
    ) -> None:
        self.registry, self.target, self.policy, self.wrap = registry, target, policy or Policy(), wrap
        self.guard = guard or Guard()
        self.bindings: list[Binding] = []
        self.site = ""
        self._slow = target.device.type != "cpu"
        self._check_policy()
        self._missing = {name: backend.missing() for name, backend in registry.backends.items()}

    def __getattr__(self, name: str) -> Callable[..., Callable[..., Any]]:
        if name.startswith("_"):  # asked of a copy before it has a registry
            raise AttributeError(name)
        if name not in self.registry.ops:
            known = ", ".join(sorted(self.registry.ops)) or "none"
            raise MissingOpError(
                f"no op named {name!r}; registered: {known} (`rustinfer plugins` says who brings what)"
            )
        return partial(self.bind, self.registry.ops[name])

    def bind(self, op: Op, /, **bound: Any) -> Callable[..., Any]:
        """Freeze an op's keyword-only arguments and return the callable of the rest."""
        binding = self.resolve(op, **bound)
        self.bindings.append(binding)
        # A composition is no fallback: its parts were bound, and warned of, one by one.
        if binding.backend == REFERENCE and binding.rejected and not op.composition and self._slow:
            log.warning("%s runs its reference: slow on a GPU", binding.why())
        call = self.wrap(binding) or binding.call
        plugin = self._plugin(op, binding.backend)
        own(call, Owner(op.name, binding.backend, plugin))
        if binding.backend == REFERENCE and call is binding.call:
            return call
        instead = binding.call if binding.backend == REFERENCE else self._instead(op, op.complete(bound))
        return self.guard(binding, plugin, call, instead, self._standby(op))

    def whole(self, name: str, /, **bound: Any) -> Callable[..., Any] | None:
        """As `bind`, by the op's name; but None where it would be composed and no pin asks for that.

        For ops of which a caller has the parts anyway, and does as well by calling them.
        """
        op = self.registry.ops[name]
        return None if self.composed(op, op.complete(bound)) else self.bind(op, **bound)

    def composed(self, op: Op, full: dict[str, Any]) -> bool:
        """Whether an op with these bound arguments, all of them, would be its reference without being pinned to it."""
        return op.name not in self.policy.pins and self._choose(op, full)[0] == REFERENCE

    def resolve(self, op: Op, /, **bound: Any) -> Binding:
        """Choose a kernel and build it. Raises NoKernelError when every candidate refuses."""
        full = op.complete(bound)
        return self._binding(op, *self._choose(op, full), full)

    def _choose(self, op: Op, full: dict[str, Any]) -> tuple[str, Rejected]:
        rejected: list[tuple[str, str]] = []
        for name in self.policy.order(op.name, self.target.device.type):
            reason = self.refusal(op, name, full)
            if told := self._decided_by_parts(op, name, full, reason):
                return REFERENCE, (*rejected, (name, told))
            if reason is None:
                return name, tuple(rejected)
            rejected.append((name, reason))
        raise NoKernelError(op.name, self.site, str(self.target), rejected)

    def refusal(self, op: Op, name: str, bound: Mapping[str, Any]) -> str | None:
        """Why the back end of that name cannot run an op with these bound arguments, or None."""
        if name == REFERENCE:
            return self._reference_refusal(op)
        if name not in self.registry.backends:
            return "is not installed"
        if op.name not in self.policy.pins and (disabled := self.guard.refusal(op.name, name)):
            return disabled
        if missing := self._missing[name]:
            return missing
        kernel = self.registry.backends[name].kernels.get(op.name)
        return kernel.refusal(self.target, bound) if kernel else "has no kernel for this op"

    def _standby(self, op: Op) -> str | None:
        """Why the op's reference may not stand in for a kernel that raises, or None."""
        if op.name in self.policy.pins:
            return f"--pin {op.name}={self.policy.pins[op.name]} is an order"
        if self.policy.strict:
            return "--strict forbids it to fall back"
        return VARIES if self.target.invariant and not op.batch_invariant and not op.composition else None

    def _instead(self, op: Op, bound: dict[str, Any]) -> Function:
        """What stands in for a kernel: the op's reference, or its composition, whose parts are bound when it must."""
        if op.composition is None:
            return freeze(op.reference, bound)
        site = self.site

        @cache
        def composed() -> Function:
            at, self.site = self.site, site
            try:
                return self._reference(op, bound)
            finally:
                self.site = at

        def call(*args: Any) -> Any:
            return composed()(*args)

        return call

    def _plugin(self, op: Op, backend: str) -> str:
        if backend != REFERENCE:
            return self.registry.owner("back end", backend)
        return self.registry.owner("op", op.name) if op.name in self.registry.ops else ""

    def _decided_by_parts(self, op: Op, name: str, bound: dict[str, Any], reason: str | None) -> str | None:
        """Why a fused op is composed when it is the turn of this back end, or None."""
        if name == REFERENCE or op.name in self.policy.pins:
            return None
        if reason is None and (part := pinned_part(self, op, name, bound)):
            return f"{part}, a part of it, is pinned to {self.policy.pins[part]}: the op is composed of its parts"
        # `--prefer` comes first with what it has: nobody takes a fused op whole before it is asked for a part.
        if reason and name in self.policy.prefer and (part := part_of(self, op, name, bound)):
            return f"{reason}, but one for {part}: the op is composed of its parts"
        return None

    def _reference_refusal(self, op: Op) -> str | None:
        # A composition costs nothing: its parts are bound, and judged, one by one.
        if self.target.invariant and not op.batch_invariant and not op.composition:
            return VARIES
        if op.composition or op.name in self.policy.pins or not (self.policy.strict and self._slow):
            return None
        return "--strict forbids reference kernels on a GPU"

    def _binding(self, op: Op, name: str, rejected: Rejected, bound: dict[str, Any]) -> Binding:
        if name == REFERENCE:
            call = self._reference(op, bound)
            return Binding(op, name, self.site, self.target, rejected, op.composition is not None, True, call)
        kernel = self.registry.backends[name].kernels[op.name]
        call = kernel.build(self.target, **bound)
        return Binding(op, name, self.site, self.target, rejected, kernel.capturable, kernel.deterministic, call)

    def _reference(self, op: Op, bound: dict[str, Any]) -> Function:
        if op.composition is None:
            return freeze(op.reference, bound)
        composed: Function = op.composition(self, **bound)
        return composed

    def _check_policy(self) -> None:
        known = {*self.registry.backends, REFERENCE}
        names = [(f"--prefer {name}", name) for name in self.policy.prefer]
        names += [(f"--pin {op}={name}", name) for op, name in self.policy.pins.items()]
        for flag, name in names:
            if name not in known:
                raise UnknownBackendError(f"{flag}: no back end named {name}; installed: {', '.join(sorted(known))}")
        for name in self.policy.pins:
            if name not in self.registry.ops:
                raise UnknownOpError(f"--pin {name}: no op named {name}; known: {', '.join(sorted(self.registry.ops))}")
