"""An argument parser that speaks like the rest of the program: one line, exit code 2, no guessed abbreviations."""

from __future__ import annotations

import argparse
import difflib
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

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse flags that stand anywhere, also between positional arguments; sub-commands take theirs behind them."""
        nested = any(action.nargs == argparse.PARSER for action in self._actions)
        return self.parse_args(argv) if nested else self.parse_intermixed_args(argv)

    def error(self, message: str) -> NoReturn:
        start, _, rest = message.partition("unrecognized arguments: ")
        if rest.startswith("--") and not start:
            message = self._unknown(rest.split()[0].partition("=")[0])
        raise Usage(f"{message} (try: {self.prog} --help)")

    def _unknown(self, flag: str) -> str:
        near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
        return f"there is no flag {flag}" + (f": did you mean {near[0]}?" if near else "")


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
