"""The table of faults and attacks has every number of the two lists, and a test stands behind each."""

from __future__ import annotations

import re

import pytest

from .conftest import ROOT
from .told import Row, Told

NUMBERS = [*(f"F{n}" for n in range(1, 28)), *(f"T{n}" for n in range(1, 42))]
TABLE = (ROOT / "docs" / "faults.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_has_a_line_and_a_test(number: str) -> None:
    told = {id for line in TABLE.splitlines() if line.startswith("| ") for id in line.split("|")[1].strip().split(", ")}
    assert number in told, "run `make faults`"
    names = re.findall(r"def (test(?:_[ft]\d+)+)\w*\([^)]*\bsaw\b", TESTS)
    assert any(number in Row(name, "", "", None).ids for name in names)


def test_a_line_stands_in_the_table_of_each_of_its_numbers(tmp_path_factory: pytest.TempPathFactory) -> None:
    told = Told()
    told.rows += [
        Row("test_t12_f22_a", "did", "saw", 0.5),
        Row("test_f3_b", "x", "y", None),
        Row("test_c", "", "", None),
    ]
    file = tmp_path_factory.mktemp("told") / "table.md"
    told.write(file)
    faults, attacks = file.read_text().split("## ")[1:]
    assert [line for line in faults.splitlines() if line.startswith("| ")][1:] == [
        "| F3 | x | y |  |",
        "| T12, F22 | did | saw | 500 ms |",
    ]
    assert "| T12, F22 | did | saw | 500 ms |" in attacks
    assert "F3" not in attacks
