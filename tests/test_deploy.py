"""What lies in deploy/: that it names flags and files which exist, and fetches no code when it runs."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from configparser import ConfigParser
from pathlib import Path

from rustinfer.cli import serve
from rustinfer.settings import read, settle

from .conftest import ROOT

DEPLOY = ROOT / "deploy"


def flags(words: list[str]) -> None:
    """Parse the words after `rustinfer serve` as it would."""
    parser = ArgumentParser()
    serve.configure(parser)
    parser.parse_args(words)


def test_the_unit() -> None:
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "rustinfer.service")
    program, verb, *words = shlex.split(unit["Service"]["ExecStart"])
    assert (Path(program).name, verb) == ("rustinfer", "serve")
    flags(words)
    assert "-HUP $MAINPID" in unit["Service"]["ExecReload"]
    assert unit["Service"]["Restart"] == "on-failure"


def test_the_file_of_flags() -> None:
    parser = ArgumentParser()
    serve.configure(parser)
    args = parser.parse_args([])
    args.config = str(DEPLOY / "serve.toml")
    from rustinfer.flags import COMMON, ENGINE, SERVER

    settle(args, (*SERVER, *ENGINE, *COMMON), {})
    assert (args.model, args.port, args.log_requests) == ("smollm2", 8000, True)
    assert set(read(DEPLOY / "serve.toml")) >= {"model", "host"}


def test_the_image() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    steps = re.sub(r"\\\n\s*", "", text).splitlines()
    for line in steps:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / name).exists() for name in line.split()[1:-1])
    (command,) = [line for line in steps if line.startswith("CMD ")]
    verb, *words = re.findall(r'"([^"]*)"', command)
    assert verb == "serve"
    flags(words)
    running = [line for line in steps if line.startswith(("CMD", "ENTRYPOINT", "HEALTHCHECK"))]
    assert not re.search(r"pip|curl|wget|git ", " ".join(running))
    assert "USER rustinfer" in steps
    assert not re.search(r"index-url|http://(?!127)", text)
