"""Every snippet of the README runs, and says what the README says it does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Running

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [(language, code) for language, code in BLOCK.findall(README)]
SERVE = "rustinfer serve"
# What each snippet must print, by a text that is in it. A snippet without an entry here fails the first test below.
EXPECTED = {
    "curl -s": r'"content":\s*".*Paris',
    "from openai import": "Paris",
    "rustinfer chat --url": r"python: 3\.",
    "from rustinfer import LLM": "Paris",
    "rustinfer ops why": r"attention",
    "def soft_cap": "^sound$",
    "acme = Backend": r"not acme: the width is not a multiple of 8",
}


def language(name: str) -> list[str]:
    return [code for kind, code in SNIPPETS if kind == name]


def expected(code: str) -> str:
    return next(pattern for text, pattern in EXPECTED.items() if text in code)


def run(command: list[str], path: str, cwd: Path, code: str) -> str:
    done = subprocess.run(
        command,
        input=code,
        env={**os.environ, "PATH": path},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_snippet_is_known() -> None:
    assert {kind for kind, _ in SNIPPETS} == {"console", "bash", "python"}
    for code in (*language("bash"), *language("python")):
        assert code.startswith(SERVE) or expected(code)
    for text in EXPECTED:
        assert text in README


def test_the_two_commands_are_targets(tmp_path: Path) -> None:
    (session,) = language("console")
    commands = re.findall(r"^\$ (.*)$", session, re.MULTILINE)
    assert commands == ["make serve", "make test"]
    named = [*commands, *re.findall(r"`(make [^`]*)`", README)]
    for command in named:
        subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("code", [c for c in language("bash") if c.startswith(SERVE)], ids=["serve"])
def test_serve(code: str, running_server: Running) -> None:
    # The server that the snippets below talk to was started by this command, but for the port and the context.
    assert code.split() == ["rustinfer", "serve", "smollm2", "--port", "8000"]


@pytest.mark.parametrize("code", [c for c in language("bash") if not c.startswith(SERVE)], ids=lambda c: c[:20])
def test_shell(code: str, running_server: Running, command_path: str, tmp_path: Path) -> None:
    if "curl" in code and shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    shown = run(["bash", "-euo", "pipefail"], command_path, tmp_path, at(running_server, code))
    assert re.search(expected(code), shown, re.MULTILINE), shown


@pytest.mark.parametrize("code", language("python"), ids=lambda c: c[:20])
def test_python(code: str, running_server: Running, command_path: str, tmp_path: Path) -> None:
    shown = run([sys.executable, "-"], command_path, tmp_path, at(running_server, code))
    assert re.search(expected(code), shown, re.MULTILINE), shown


def at(server: Running, code: str) -> str:
    """The snippet, talking to the server of the test."""
    return code.replace("http://127.0.0.1:8000", server.url)


def test_links_lead_somewhere() -> None:
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"
