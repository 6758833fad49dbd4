"""Flags that were not given: from the environment, then from the file that --config names, then their defaults."""

from __future__ import annotations

import argparse
import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .flags import COMMON, ENGINE, SERVER, WIRE, Flag, Flags, destination

PREFIX = "RUSTINFER_"
OTHERS = frozenset({"RUSTINFER_CACHE", "RUSTINFER_DISABLE_PLUGINS", "RUSTINFER_STRICT_PLUGINS"})
"""Variables that are no flag's twin: they matter to every verb, and before any flag is read."""
KNOWN = {destination(flag): (flag, details) for flag, details in (*ENGINE, *SERVER, *COMMON, *WIRE)}
WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def settle(args: argparse.Namespace, flags: Flags, environ: Mapping[str, str] | None = None) -> None:
    """Fill in what the command line left open. Raises UserError for unknown names and values that cannot be meant."""
    environ = os.environ if environ is None else environ
    check(environ)
    place = getattr(args, "config", None) or environ.get(variable("config"))
    written = read(Path(place)) if place else {}
    if "model" in written and getattr(args, "model", "") is None:
        args.model = str(written["model"])
    for flag in flags:
        name = destination(flag[0])
        if getattr(args, name, None) is None:
            setattr(args, name, _value(flag, environ, written, str(place)))


def variable(name: str) -> str:
    """The environment twin of a flag's destination."""
    return PREFIX + name.upper()


def check(environ: Mapping[str, str]) -> None:
    """Raises UserError for a RUSTINFER_ variable that means nothing."""
    known = {variable(name) for name in KNOWN} | OTHERS
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            raise UserError(f"the environment variable {name} means nothing here{_near(name, known)}")


def read(path: Path) -> dict[str, Any]:
    """The flags in a file, by destination. Raises UserError for what is not there, no mapping, or unknown."""
    try:
        text = path.read_text("utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(
            f"the file {path} cannot be read: {getattr(e, 'strerror', None) or 'it is not UTF-8'}"
        ) from None
    except ValueError as e:
        raise UserError(f"the file {path} cannot be understood: {str(e).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise UserError(f"the file {path} must hold flags by name, such as `port: 9000`")
    written = {destination(str(name).replace("_", "-")): value for name, value in found.items()}
    for name in written.keys() - KNOWN.keys() - {"model"}:
        raise UserError(f"the file {path} sets {name}, which is no flag{_near(name, [*KNOWN, 'model'])}")
    return written


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as e:
        raise ValueError(str(e)) from None


def _value(flag: Flag, environ: Mapping[str, str], written: Mapping[str, Any], place: str) -> Any:
    name, (spelling, details) = destination(flag[0]), flag
    text, many = environ.get(variable(name)), details.get("action") == "append"
    # An empty one is refused: else a server whose file of keys was not named would be open to everybody.
    if text is not None:
        value = [part.strip() for part in text.split(",")] if many else text
        return _converted(value, details, f"the environment variable {variable(name)}")
    if written.get(name) is not None:
        return _converted(written[name], details, f"{spelling.removeprefix('--')} in the file {place}")
    return details.get("default")


def _converted(value: Any, details: Mapping[str, Any], where: str) -> Any:
    """The value as the command line would have made it."""
    action = details.get("action", "")
    if action.startswith("store_"):
        found = value if isinstance(value, bool) else WORDS.get(str(value).lower())
        if found is None:
            raise UserError(f"{where} must be true or false, not {value!r}")
        return found
    many, make = action == "append", details.get("type", str)
    if isinstance(value, (bool, list, dict)) and not (many and isinstance(value, list)):
        raise UserError(f"{where} takes {'a list of words' if many else 'one value'}, not {value!r}")
    try:
        made = [make(str(each)) for each in (value if isinstance(value, list) else [value]) or [""]]
    except argparse.ArgumentTypeError as e:
        raise UserError(f"{where}: {e}") from None
    if unknown := [each for each in made if each not in details.get("choices", made)]:
        raise UserError(f"{where} must be one of {', '.join(details['choices'])}, not {unknown[0]!r}")
    return made if many else made[0]


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {near[0]}?" if near else ""
