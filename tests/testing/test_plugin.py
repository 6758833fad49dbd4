from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_pytest_plugin_imports_nothing_heavy() -> None:
    loaded = (
        "import rustinfer.testing.plugin, sys; print([m for m in ('torch', 'pytest', 'numpy') if m in sys.modules])"
    )
    assert run(loaded) == "[]"


def test_names_of_the_kit_arrive_on_first_use() -> None:
    assert (
        run("from rustinfer.testing import check, problems; print(check.__name__, problems.__name__)")
        == "check problems"
    )
