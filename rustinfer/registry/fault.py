"""Kernels that gave up: what they computed is worth nothing, and they say so while the device goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .binder import Binding
from .registry import Registry


class KernelFault(Exception):
    """A kernel gave up; the message is one line: the op, the site, the back end, its plugin, and the kernel's words."""


class Faults:
    """Asks the callables of bindings that have a method `fault() -> str | None` whether they gave up.

    They are asked after every step, so they must answer from the host's memory, without waiting for the device.
    """

    def __init__(self, bindings: Iterable[Binding], registry: Registry) -> None:
        self._asked: list[tuple[Callable[[], str | None], Binding]] = [
            (binding.call.fault, binding) for binding in bindings if hasattr(binding.call, "fault")
        ]
        self._registry = registry

    def __bool__(self) -> bool:
        return bool(self._asked)

    def check(self) -> None:
        """Raise KernelFault for the first that gave up."""
        for ask, binding in self._asked:
            if words := ask():
                plugin = self._registry.owner("back end", binding.backend)
                where = f" at {binding.site}" if binding.site else ""
                raise KernelFault(
                    f"{binding.op.name}{where}, by back end {binding.backend} of plugin {plugin} for {binding.target}: "
                    f"{words}"
                )
