"""An argument parser that speaks like the rest of the program: one line, exit code 2, no guessed abbreviations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import UserError


class Usage(UserError):
    """The arguments do not make a command."""


class Parser(argparse.ArgumentParser):
    """`argparse` with whole flags only, help printed as written, and errors raised as Usage."""

    def __init__(self, **options: Any) -> None:
        # Subparsers are made through this class too, with options of their own.
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options["allow_abbrev"] = False
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message} (try: {self.prog} --help)")


def dashes(argv: Sequence[str]) -> list[str]:
    """The arguments with `_` for `-` allowed in the names of long flags: `--max_model_len=5` and its like."""
    end = argv.index("--") if "--" in argv else len(argv)
    return [*map(_dashed, argv[:end]), *argv[end:]]


def _dashed(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


def examples(*lines: str) -> str:
    """The foot of a help text."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)
