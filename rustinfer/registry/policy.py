"""What the user asked for when kernels are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

REFERENCE = "reference"
DEFAULT_ORDER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"cuda": ("cuda", "triton", "cublas"), "cpu": ("vnni", "cpu", "torch")}
)


@dataclass(frozen=True)
class Policy:
    """`prefer` stands before the device's default order; `pins` are orders; `strict` forbids the reference on a GPU.

    A preferred back end without a kernel for a fused op, but with one for a part of it, has the op composed.
    """

    prefer: Sequence[str] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False

    def order(self, op: str, device: str) -> tuple[str, ...]:
        """Back ends to ask, first to last. A pinned op asks its pin and nobody else."""
        if op in self.pins:
            return (self.pins[op],)
        return tuple(dict.fromkeys((*self.prefer, *DEFAULT_ORDER.get(device, ()), REFERENCE)))
