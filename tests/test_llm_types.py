"""The keywords of `LLM`, as type checkers, editors and `help` see them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from rustinfer import LLM
from rustinfer.engine.options import Options

RIGHT = 'LLM(); LLM("m", dtype="float32", prefer="cpu", pins={"silu": "torch"}); LLM(model="m", max_model_len=4096)\n'
WRONG = {
    'LLM("m", tensor_parallel_size=2)': 'Unexpected keyword argument "tensor_parallel_size"',
    'LLM("m", max_model_len="4096")': 'Argument "max_model_len" to "LLM" has incompatible type "str"',
    'LLM("m", "float32")': "Too many positional arguments",
}
CONFIG = """
[mypy]
strict = True
follow_imports = silent
[mypy-torch.*,numpy.*,pydantic.*,transformers.*,tokenizers.*,jinja2.*]
follow_imports = skip
"""
"""Types of others take a minute to read, and say nothing about ours."""


def test_mypy_sees_unknown_keywords_and_wrong_types(tmp_path: Path) -> None:
    snippet, config = tmp_path / "snippet.py", tmp_path / "mypy.ini"
    snippet.write_text("from rustinfer import LLM\n" + RIGHT + "\n".join(WRONG))
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", f"--config-file={config}", f"--cache-dir={tmp_path}/cache", str(snippet)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    found = [line for line in done.stdout.splitlines() if " error: " in line]
    assert len(found) == len(WRONG), done.stdout + done.stderr
    for number, (line, words) in enumerate(zip(found, WRONG.values(), strict=True), 3):
        assert f"snippet.py:{number}: " in line
        assert words in line


def test_the_signature_shows_every_option_with_its_default() -> None:
    shown = inspect.signature(LLM).parameters
    assert {name: each.default for name, each in shown.items()} == {
        "model": "smollm2",
        **{each.name: each.default for each in fields(Options)},
    }
    assert all(each.kind is each.KEYWORD_ONLY for name, each in shown.items() if name != "model")


def test_what_is_no_option_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'tensor_parallel_size'"):
        LLM("m", tensor_parallel_size=2)
