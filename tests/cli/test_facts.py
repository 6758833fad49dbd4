from __future__ import annotations

import json
from pathlib import Path

import pytest

from rustinfer.cli import facts


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        (["/p/bin/python", "/p/bin/rustinfer", "bench", "cpu", "--json"], "rustinfer bench cpu --json"),
        (["python", "-m", "rustinfer.cli", "bench", "serve", "a b"], "rustinfer bench serve 'a b'"),
        (["python", "-m", "benchmarks.host_cost"], "python -m benchmarks.host_cost"),
        (["python", "-m", "benchmarks.one", "--python", "/p/bin/python"], "python -m benchmarks.one --python python"),
    ],
)
def test_the_command_is_as_one_would_type_it(argv: list[str], typed: str) -> None:
    assert facts.command(argv) == typed


def test_a_result_is_written_with_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    facts.save(str(path), {"speed": 5})
    assert json.loads(path.read_text()) == {**facts.facts(), "speed": 5}
    assert "cores" in facts.machine()
    facts.save(None, {})  # no file was asked for


def test_no_host_name_gets_into_a_result() -> None:
    import socket

    assert socket.gethostname() not in json.dumps(facts.facts())
