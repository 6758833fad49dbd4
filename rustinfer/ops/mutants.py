"""Wrong versions made of right ones: the reference, run on changed arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustinfer.registry import Op

Arguments = dict[str, Any]


def wrong(op: Op, name: str, change: Callable[[Arguments], Arguments]) -> None:
    """Register as a mutant of the op its reference run on changed arguments."""

    def fn(*flow: Any, **bound: Any) -> Any:
        given = dict(zip(op.flow, flow, strict=True)) | op.complete(bound)
        return op(**given | change(given))

    fn.__signature__ = op.signature  # type: ignore[attr-defined]  # it stands for a function of the op's own parameters
    op.mutant(name)(fn)
