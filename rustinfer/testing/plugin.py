"""pytest plugin: adds `--backend NAME` for `pytest --pyargs rustinfer.testing.suite`.

pytest imports this in every run of every project that has rustinfer installed, so it imports nothing but pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rustinfer")
    group.addoption("--backend", action="append", default=[], metavar="NAME", help="back end to judge (default: all)")
