"""The conformance kit: what a kernel must do to be called an implementation of its op.

Authors of back ends run `pytest --pyargs rustinfer.testing.suite --backend NAME` and write no tests of their own for
it; authors of ops call `problems(op)`, which says what their definition lacks. Names are imported on first use: pytest
loads this package in every run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conformance import check
    from .definition import problems, survivors
    from .judge import NonconformingError

__all__ = ["NonconformingError", "check", "problems", "survivors"]

_HOME = {"NonconformingError": ".judge", "check": ".conformance", "problems": ".definition", "survivors": ".definition"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
