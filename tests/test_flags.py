"""Values that flags refuse: what is said, and that no flag of any command says less."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from rustinfer import flags
from rustinfer.cli.commands import VERBS, built_in
from rustinfer.cli.parser import Parser
from rustinfer.engine.main import parser as engine
from rustinfer.server.main import parser as server

TOKENS = "is not a whole number such as 4096, 32k for 32000, or 32K for 32768"


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("count", "3g", f"'3g' {TOKENS}"),
        ("count", "", f"'' {TOKENS}"),
        ("count", "1.5", f"'1.5' {TOKENS}"),
        *(("count", text, f"{text!r} {TOKENS}") for text in ("k", "1.2345k", "1.5K", "infk", "nank")),
        ("count", "1,2", f"'1,2' {TOKENS}"),
        ("whole", "1k", "'1k' is not a whole number"),
        ("positive", "0", "'0' is not a whole number above 0"),
        ("positive", "-1", "'-1' is not a whole number above 0"),
        ("port", "65536", "'65536' is not a port, a whole number from 0 to 65535"),
        ("port", "-1", "'-1' is not a port"),
        ("number", "nan", "'nan' is not a number"),
        ("number", "warm", "'warm' is not a number"),
        ("above_zero", "0", "'0' is not a number above 0"),
        ("seconds", "-1", "'-1' is not a number of seconds from 0 to 86400"),
        ("seconds", "inf", "'inf' is not a number of seconds"),
        *(
            ("host_name", text, f"{text!r} is not a host's name")
            for text in ("http://a", "a:80", "[::1]:80", "", "a b")
        ),
        ("word", " ", "a value is empty: give one, or leave it out"),
    ],
)
def test_a_refusal_says_what_is_wanted(kind: str, text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        getattr(flags, kind)(text)
    assert str(refused.value).startswith(says)


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the sub-commands, at any depth, or this one."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for child in action.choices.values():
            yield from leaves(child)


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Those of all console commands."""
    yield from (engine(), server())
    for name in VERBS:
        verb = Parser(prog=f"rustinfer {name}")
        built_in(name).configure(verb)
        yield from leaves(verb)


def refusal(parser: argparse.ArgumentParser, action: argparse.Action, text: str) -> str:
    """What a flag says of a value; nothing where it is taken."""
    try:
        parser._get_values(action, [text])
    except argparse.ArgumentError as refused:
        return refused.message
    return ""


@pytest.mark.parametrize("parser", [*parsers()], ids=lambda parser: parser.prog.replace(" ", "-"))
@pytest.mark.parametrize("text", ["3g", "-1.5", "", "1,x", "nan"])
def test_no_flag_of_any_command_names_a_python_type_for_a_reason(parser: argparse.ArgumentParser, text: str) -> None:
    """argparse's own words for what int() refuses are `invalid int value`; for a choice they name what there is."""
    for action in (action for action in parser._actions if action.nargs != 0):
        said = refusal(parser, action, text)
        assert "value: " not in said, f"{action.option_strings}: {said}"
