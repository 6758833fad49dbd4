"""What lies in deploy/: that it names flags and files which exist, and fetches no code when it runs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

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


def test_a_reload_brings_the_keys_anew() -> None:
    """systemd copies credentials at a start alone: what a start does to the keys, a reload does again."""
    pairs = [line.partition("=") for line in (DEPLOY / "rustinfer.service").read_text().splitlines()]
    told = {name: [value for key, _, value in pairs if key == name] for name, _, _ in pairs}
    assert "LoadCredential" not in told
    file = told["ExecStart"][0].partition("--api-key-file=")[2].split()[0]
    assert any(file in command and "/etc/rustinfer/keys" in command for command in told["ExecStartPre"])
    assert told["ExecReload"] == [*told["ExecStartPre"], "/bin/kill -HUP $MAINPID"]


def test_the_file_of_flags() -> None:
    parser = ArgumentParser()
    serve.configure(parser)
    args = parser.parse_args([])
    args.config = str(DEPLOY / "serve.toml")
    from rustinfer.flags import COMMON, ENGINE, SERVER

    settle(args, (*SERVER, *ENGINE, *COMMON), {})
    assert (args.model, args.port, args.log_requests) == ("smollm2", 8000, True)
    assert set(read(DEPLOY / "serve.toml")) >= {"model", "host"}


def steps_of(file: Path) -> list[str]:
    """The lines of a Dockerfile, those that are continued as one."""
    return re.sub(r"\\\n\s*", "", file.read_text()).splitlines()


def copied() -> list[str]:
    """What of this tree gets into the image."""
    lines = [line.split() for line in steps_of(DEPLOY / "Dockerfile")]
    return [name for words in lines if words[:1] == ["COPY"] and "--from" not in words[1] for name in words[1:-1]]


@pytest.mark.slow
def test_the_image_can_be_built_from_what_it_copies(tmp_path: Path) -> None:
    """Without Docker: a wheel of the copied files alone has all that is tracked, and the commands."""
    source = tmp_path / "source"
    source.mkdir()
    for name in copied():
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([sys.executable, *build, str(source)], check=True)
    (wheel,) = tmp_path.glob("rustinfer-*.whl")
    names = ZipFile(wheel).namelist()
    tracked = subprocess.run(["git", "ls-files", "rustinfer"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) <= set(names)
    (commands,) = [name for name in names if name.endswith("entry_points.txt")]
    assert b"rustinfer-server" in ZipFile(wheel).read(commands)


def test_the_image() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    steps = steps_of(DEPLOY / "Dockerfile")
    assert all((ROOT / name).exists() for name in copied())
    (command,) = [line for line in steps if line.startswith("CMD ")]
    verb, *words = re.findall(r'"([^"]*)"', command)
    assert verb == "serve"
    flags(words)
    running = [line for line in steps if line.startswith(("CMD", "ENTRYPOINT", "HEALTHCHECK"))]
    assert not re.search(r"pip|curl|wget|git ", " ".join(running))
    assert "USER 10001" in steps
    assert not re.search(r"index-url|http://(?!127)", text)
