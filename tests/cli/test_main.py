"""`rustinfer`: verbs, exit codes, and how quickly it answers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from rustinfer import __version__
from rustinfer.cli import bench
from rustinfer.cli import main as cli
from rustinfer.cli.commands import VERBS, Verb, built_in
from rustinfer.errors import Refused, UserError

COMMAND = [sys.executable, "-m", "rustinfer.cli"]
BUDGET = 0.2  # seconds for --version


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=60, check=False)


def verb(action: object) -> Verb:
    def act(args: Namespace) -> int | None:
        if isinstance(action, BaseException):
            raise action
        return action  # type: ignore[return-value]

    return Verb("serve", "do it", lambda parser: None, act)


def test_version_is_printed() -> None:
    assert run("--version").stdout == f"rustinfer {__version__}\n"


def test_version_is_quick() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run("--version")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, the best of several: the machine may be busy with other things, which is not what is measured.
    assert min(seconds() for _ in range(5)) < BUDGET


@pytest.mark.parametrize("flag", ["--version", "--help", "srve"])
def test_torch_is_not_imported(flag: str) -> None:
    code = (
        "import sys\nfrom rustinfer.cli.main import main\n"
        f"main([{flag!r}])\n"
        "print(sorted({'torch', 'numpy', 'rich', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in VERBS)
    assert cli.main([]) == 0
    assert capsys.readouterr().out == shown


PARTS = ["ops list", "ops why", "ops check", "ops bench", *(f"bench {name}" for name in bench.ACTIONS)]


@pytest.mark.parametrize("name", [*VERBS, *PARTS])
def test_every_verb_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: rustinfer {name}" in shown
    assert "examples:" in shown
    assert f"rustinfer {name}" in shown.split("examples:")[1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["srve"], "error: no verb srve: did you mean serve?\n"),
        (["--nope"], "error: unknown flag --nope before a verb (try: rustinfer --help)\n"),
        (["doctor", "--nope"], "error: there is no flag --nope (try: rustinfer doctor --help)\n"),
        (["doctor", "--js"], "error: there is no flag --js: did you mean --json? (try: rustinfer doctor --help)\n"),
        (["ops"], "error: the following arguments are required: list|why|check|bench (try: rustinfer ops --help)\n"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    ("action", "code", "message"),
    [
        (None, 0, ""),
        (1, 1, ""),
        (UserError("no such file"), 2, "error: no such file\n"),
        (Refused("no kernel"), 3, "error: no kernel\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(
    action: object, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "built_in", lambda name: verb(action))
    assert cli.main(["serve"]) == code
    assert capsys.readouterr().err == message


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "built_in", lambda name: verb(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["serve"])


def test_underscores_in_flags_are_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def configure(parser: ArgumentParser) -> None:
        parser.add_argument("--max-model-len")

    def act(args: Namespace) -> None:
        seen.append(args.max_model_len)

    monkeypatch.setattr(cli, "built_in", lambda name: Verb("serve", "do it", configure, act))
    assert cli.main(["serve", "--max_model_len", "5"]) == 0
    assert cli.main(["serve", "--max_model_len=a_b"]) == 0
    assert seen == ["5", "a_b"]


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(write)
    assert done.stderr == ""


def test_every_verb_is_a_module() -> None:
    assert [built_in(name).name for name in VERBS] == list(VERBS)


@pytest.mark.parametrize("argv", [["--version"], ["plugins"]])
def test_output_that_goes_nowhere_is_one_line(argv: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *argv], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.stderr == "error: the output could not be written: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    "argv", [("serve", ""), ("serve", "--model="), ("chat", " "), ("complete", "", "hi"), ("bench", "serve", "")]
)
def test_an_empty_name_is_not_the_default_model(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    assert "a value is empty: give one, or leave it out" in capsys.readouterr().err
