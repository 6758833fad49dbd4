"""What form an output must have: a JSON value, one that fits a schema, a regular expression, a choice or a grammar."""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from . import checks
from .checks import ParameterError
from .structural import tags

Kind = Literal["json_object", "json_schema", "regex", "choice", "grammar", "structural_tag"]
NAME = "structured_outputs"
NAMES = "json, regex, choice, grammar, json_object and structural_tag"
MAX_TEXT = 1 << 18
"""Characters of the longest schema, expression or grammar."""
MAX_CHOICES = 1024


@dataclass(frozen=True)
class Structured:
    """One form, as text: a JSON schema, a regular expression, a JSON list of strings for a choice, a Lark or
    EBNF grammar, or structural tags as JSON.

    The text of "json_object" is empty. Only its size is checked here: the engine compiles it, within bounds.
    """

    kind: Kind
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ParameterError(NAME, f"must be of a kind among {', '.join(get_args(Kind))}")
        if type(self.text) is not str or (not self.text and self.kind != "json_object"):
            raise ParameterError(NAME, f"must have a text that says which {self.kind}")
        if len(self.text) > MAX_TEXT:
            raise ParameterError(NAME, f"may have at most {MAX_TEXT} characters, not {len(self.text)}")


class StructuredOutputsParams(Structured):
    """A form under the names that vLLM's users know: exactly one of these. A schema may be text or already parsed."""

    def __init__(
        self,
        json: str | Mapping[str, Any] | None = None,
        regex: str | None = None,
        choice: Sequence[str] | None = None,
        grammar: str | None = None,
        json_object: bool | None = None,
        structural_tag: str | Mapping[str, Any] | None = None,
    ) -> None:
        forms: dict[Kind, Any] = {
            "json_schema": json,
            "regex": regex,
            "choice": choice,
            "grammar": grammar,
            "json_object": json_object or None,
            "structural_tag": structural_tag,
        }
        asked = {kind: form for kind, form in forms.items() if form is not None}
        if len(asked) != 1:
            raise ParameterError(NAME, f"must have exactly one of {NAMES}")
        kind, form = asked.popitem()
        super().__init__(kind, _text(kind, form))


def structured(value: Any) -> Structured | None:
    """A form from a parameter's value: a `Structured` or None as they are, a mapping by vLLM's names."""
    if value is None or type(value) is Structured:
        return value
    if isinstance(value, Structured):
        return Structured(value.kind, value.text)
    if not isinstance(value, Mapping):
        raise ParameterError(NAME, "must be a StructuredOutputsParams")
    return named(value)


def named(forms: Mapping[str, Any]) -> Structured:
    """A form by vLLM's names for it."""
    try:
        found = StructuredOutputsParams(**forms)
    except TypeError:
        raise ParameterError(NAME, f"knows {NAMES} only") from None
    return Structured(found.kind, found.text)


def _text(kind: Kind, form: Any) -> str:
    if kind == "json_object":
        checks.flag(NAME, form)
        return ""
    if kind == "choice":
        words = checks.strings(NAME, form, MAX_CHOICES)
        if not words:
            raise ParameterError(NAME, "must offer at least one choice")
        return json_text.dumps(words)
    text = _json_text(kind, form)
    if kind == "structural_tag":
        try:
            tags(text)
        except ValueError as e:
            raise ParameterError(NAME, f"{kind} {e}") from None
    return text


def _json_text(kind: Kind, form: Any) -> str:
    if isinstance(form, str):
        return form
    if kind not in ("json_schema", "structural_tag") or not isinstance(form, (Mapping, bool)):
        raise ParameterError(NAME, f"must have a string as its {kind}")
    try:
        return json_text.dumps(form)
    except (TypeError, ValueError, RecursionError):
        raise ParameterError(NAME, "must have a schema that can be written as JSON") from None
