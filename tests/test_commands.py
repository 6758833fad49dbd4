"""Every command line of ours that a document shows is one that there is."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from rustinfer.cli.commands import VERBS, built_in
from rustinfer.cli.parser import Parser, Usage, dashes
from rustinfer.engine.main import parser as engine
from rustinfer.server.main import parser as server

from .conftest import ROOT

LINE = re.compile(r"^(?:\$ )?(rustinfer(?:-engine|-server)? .*)$")
NAMED = re.compile(r"`(rustinfer(?:-engine|-server)? [^`]+)`")
MODULE = re.compile(r"python3? -m ((?:rustinfer|benchmarks|tests)[.\w]*)")
ALONE = {"rustinfer-engine": engine, "rustinfer-server": server}


def shown(form: re.Pattern[str]) -> list[str]:
    """Each once, from all documents."""
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for name in names.split() for line in (ROOT / name).read_text().splitlines()]
    return sorted({command for line in lines for command in form.findall(line)})


def complaint(command: str) -> str:
    """What the command's parser says of it; nothing where it can be read."""
    program, *words = dashes(shlex.split(command.partition("  #")[0].rstrip("\\")))
    try:
        if program in ALONE:
            ALONE[program]().parse_args(words)
        elif words[0] in VERBS:
            verb = Parser(prog=f"rustinfer {words[0]}")
            built_in(words[0]).configure(verb)
            verb.parse(words[1:])
        elif words[0] not in ("--help", "--version"):
            return f"there is no verb {words[0]}"
    except Usage as error:
        return str(error)
    except SystemExit as done:
        return "" if not done.code else f"{program} refuses it"
    return ""


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where results are written to


@pytest.mark.parametrize("command", shown(LINE))
def test_a_command_that_is_shown_can_be_read(command: str) -> None:
    assert complaint(command) == ""


@pytest.mark.parametrize("command", shown(NAMED))
def test_a_command_that_is_named_exists(command: str) -> None:
    """What it needs may be left out: `rustinfer plan` is a name."""
    assert re.search("^$|required|expected one argument", complaint(command))


@pytest.mark.parametrize("module", shown(MODULE))
def test_a_module_that_is_run_exists(module: str) -> None:
    place = ROOT.joinpath(*module.split("."))
    assert place.with_suffix(".py").exists() or (place / "__main__.py").exists()


@pytest.mark.parametrize("target", shown(re.compile(r"`make ([a-z-]+)")))
def test_a_target_that_is_named_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
