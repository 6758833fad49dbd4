"""Every behaviour has a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..conftest import ROOT
from .behaviours import BEHAVIOURS

FOLDERS = ("server", "engine", "faults", "attacks")


def named() -> Iterator[str]:
    """The ids in the names of test functions (`test_c3_c4_prompts`) and at the head of their docstrings ("L5: ...")."""
    for folder in FOLDERS:
        for path in (ROOT / "tests" / folder).rglob("test_*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    yield from (word.upper() for word in node.name.split("_"))
                    head, colon, _ = (ast.get_docstring(node) or "").partition(":")
                    yield from re.split(r",? and |, ", head) if colon else ()


def test_each_has_a_test_that_names_it() -> None:
    assert BEHAVIOURS.keys() - set(named()) == set()


def test_the_table_has_no_gaps() -> None:
    for kind in ("C", "CH", "TL", "M", "L"):
        numbers = [int(id.removeprefix(kind)) for id in BEHAVIOURS if re.fullmatch(rf"{kind}\d+", id)]
        assert numbers == list(range(1, len(numbers) + 1))
