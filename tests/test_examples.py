"""Every example runs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import ROOT, Running

EXAMPLES = {
    "library.py": "Paris",
    "openai_client.py": r"Paris[\s\S]*\d+ tokens in, \d+ out",
    "own_op.py": "the definition is sound\n1.0\n.*layer_norm -> reference",
    "own_backend.py": r"\d+ cases, \d+ refused, 0 failed\n[\s\S]*linear -> acme",
}


def test_every_example_is_known() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str, request: pytest.FixtureRequest) -> None:
    arguments = []
    if name == "openai_client.py":
        server: Running = request.getfixturevalue("running_server")
        arguments = [server.url]
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(EXAMPLES[name], done.stdout), done.stdout
