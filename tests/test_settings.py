"""Flags, their twins in the environment, and files of flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from rustinfer.cli.serve import configure
from rustinfer.errors import UserError
from rustinfer.flags import (
    COMMON,
    ENGINE,
    SERVER,
    WIRE,
    add_arguments,
    api_key,
    count,
    destination,
    host_name,
    number,
    port,
    positive,
    seconds,
    whole,
    word,
)
from rustinfer.settings import KNOWN, check, settle, variable

ALL = (*SERVER, *ENGINE, *COMMON, *WIRE)
EXAMPLES: dict[Any, tuple[str, Any]] = {
    **dict.fromkeys((word, api_key, host_name), ("word", "word")),
    **dict.fromkeys((whole, positive, port), ("7", 7)),
    **dict.fromkeys((number, seconds), ("2.5", 2.5)),
    count: ("8k", 8000),
}


def settled(*argv: str, **environ: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    configure(parser)
    add_arguments(parser, "wire", WIRE)
    args = parser.parse_args(argv)
    settle(args, ALL, environ)
    return args


def test_every_flag_has_one_name_and_a_help() -> None:
    assert len(KNOWN) == len(ALL)
    assert all(details["help"] for _, details in ALL)


@pytest.mark.parametrize("flag", [flag for flag in ALL if flag[0] != "--config"], ids=lambda flag: flag[0])
def test_every_flag_has_a_twin_that_loses_to_the_command_line(flag: tuple[str, dict[str, Any]]) -> None:
    spelling, details = flag
    name, action = destination(spelling), details.get("action", "")
    if action.startswith("store_"):
        given, wanted = ("true", True) if action == "store_true" else ("0", False)
        assert getattr(settled(**{variable(name): given}), name) is wanted
        return
    text, value = EXAMPLES[details.get("type", word)]
    text, value = (details["choices"][-1],) * 2 if "choices" in details else (text, value)
    wanted = [value] if action == "append" else value
    assert getattr(settled(**{variable(name): text}), name) == wanted
    if len(details.get("choices", "??")) == 1:
        return  # there is nothing else to say on the command line
    other = details["choices"][0] if "choices" in details else "3"
    kept = getattr(settled(f"{spelling}={other}", **{variable(name): text}), name)
    assert kept != wanted


@pytest.mark.parametrize("empty", ["", " ", ",", "a,,b"])
def test_a_list_holds_no_empty_word(empty: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script whose variable is not set would open the server to everybody, or to every name."""
    with pytest.raises(UserError, match="the environment variable RUSTINFER_API_KEY: a value is empty"):
        settled(RUSTINFER_API_KEY=empty)
    (tmp_path / "a.toml").write_text(f"api-key = ['{empty}', 'a']")
    with pytest.raises(UserError, match=r"api-key in the file .*: (a value is empty|a key holds a comma)"):
        settled("--config", str(tmp_path / "a.toml"))
    with pytest.raises(SystemExit):
        settled(f"--api-key={empty}")
    assert "--api-key: " in capsys.readouterr().err


def test_a_file_with_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("api-key = []")
    with pytest.raises(UserError, match="a value is empty"):
        settled("--config", str(tmp_path / "a.toml"))


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_file_loses_to_the_environment(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"serve.{suffix}"
    lines = ["port = 9", 'host = "::1"', 'pin = ["a=b"]', "strict = true", "enable-prefix-caching = false"]
    text = "\n".join(lines) if suffix == "toml" else "\n".join(line.replace(" = ", ": ") for line in lines)
    file.write_text(text)
    args = settled("--config", str(file), RUSTINFER_HOST="::2")
    assert (args.port, args.host, args.pin, args.strict, args.enable_prefix_caching) == (9, "::2", ["a=b"], True, False)
    assert settled(RUSTINFER_CONFIG=str(file)).port == 9


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RUSTINFER_PROT": "1"}, "RUSTINFER_PROT means nothing here: did you mean RUSTINFER_PORT?"),
        ({"RUSTINFER_PORT": "x"}, "RUSTINFER_PORT: 'x' is not a port"),
        ({"RUSTINFER_SHUTDOWN_TIMEOUT": "soon"}, "'soon' is not a number of seconds"),
        ({"RUSTINFER_STRICT": "maybe"}, "must be true or false"),
        ({"RUSTINFER_STRICT": ""}, "must be true or false"),
        ({"RUSTINFER_API_KEY_FILE": ""}, "RUSTINFER_API_KEY_FILE: a value is empty"),
        ({"RUSTINFER_CONFIG": ""}, "RUSTINFER_CONFIG: a value is empty"),
        ({"RUSTINFER_LOG_LEVEL": "loud"}, "must be one of debug, info"),
    ],
)
def test_the_environment_is_checked(environ: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        settled(**environ)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "prot: 1", "sets prot, which is no flag: did you mean port"),
        ("a.yaml", "- 1", "must hold flags by name"),
        ("a.yaml", "a: [", "cannot be understood"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "cannot be understood"),
        ("a.toml", "port = ", "cannot be understood"),
        ("a.toml", "port = [1]", r"port in the file .* takes one value, not \[1\]"),
        ("a.yaml", "port: true", "takes one value, not True"),
        ("a.yaml", "pin: {a: b}", "pin in the file .* takes a list of words, not {'a': 'b'}"),
        ("a.toml", 'port = "x"', "port in the file .*: 'x' is not a port"),
    ],
)
def test_files_are_checked(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        settled("--config", str(tmp_path / name))
    with pytest.raises(UserError, match="cannot be read"):
        settled("--config", str(tmp_path / "none"))


def test_other_variables_are_nobodys_business() -> None:
    check({"PATH": "x", "RUSTINFERX": "y", "RUSTINFER_CACHE": "z"})
