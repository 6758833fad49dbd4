"""The binders of one engine: one for each kind of step, and one for what is drawn."""

from __future__ import annotations

from ..registry import Binder, Binding, Guard, Plugins, Policy, Target


class Binders:
    """Makes binders of one policy, and knows what all of them bound, and which kernels raised."""

    def __init__(self, plugins: Plugins, policy: Policy) -> None:
        self.plugins, self.policy, self.guard = plugins, policy, Guard()
        self.made: list[Binder] = []

    def __call__(self, target: Target) -> Binder:
        self.made.append(self.probe(target))
        return self.made[-1]

    def probe(self, target: Target) -> Binder:
        """A binder whose bindings do not stay."""
        return Binder(self.plugins.registry, target, self.policy, self.plugins.wrap, self.guard)

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Every binding so far, as it is by now."""
        return tuple(self.guard.now(binding) for binder in self.made for binding in binder.bindings)

    def idle_orders(self) -> list[str]:
        """Pins of ops that were bound nowhere, and preferred back ends that run nothing."""
        ops, running = {b.op.name for b in self.bindings}, {b.backend for b in self.bindings}
        pins = [f"--pin {op}={name}" for op, name in self.policy.pins.items() if op not in ops]
        return pins + [f"--prefer {name}" for name in self.policy.prefer if name not in running]
