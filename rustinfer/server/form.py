"""The form that a request demands of the answer, under the several names that clients have for it."""

from __future__ import annotations

import json
from typing import Any

from rustinfer.protocol.sampling import ParameterError
from rustinfer.protocol.structural import tags
from rustinfer.protocol.structured import Structured, named

from .errors import ApiError, bad_request
from .json_schema import check_schema

_NAMES = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "ebnf": "grammar",
    "regex": "regex",
    "json_schema": "json",
}


def form(request: Any) -> tuple[str, Structured] | None:
    """The form, after the field that asks for it; None where any text will do.

    Raises ApiError 400 naming the field, also where two fields ask for a form.
    """
    asked = {"response_format": _response_format(request.response_format)}
    if request.structured_outputs is not None:
        asked["structured_outputs"] = _structured("structured_outputs", request.structured_outputs)
    for name, kind in _NAMES.items():
        if (value := getattr(request, name)) is not None:
            asked[name] = _structured(name, {kind: value})
    found = {name: form for name, form in asked.items() if form is not None}
    if len(found) > 1:
        raise bad_request(f"Only one of {', '.join(found)} may be given.", max(found))
    return next(iter(found.items()), None)


def schema_form(param: str, schema: Any) -> Structured:
    """JSON that fits `schema`."""
    return _structured(param, {"json": schema})


def _response_format(value: dict[str, Any] | None) -> Structured | None:
    kind = value.get("type") if value is not None else "text"
    if value is None or kind == "text":
        return None
    if kind == "structural_tag":
        tagged = {name: value.get(name) for name in ("structures", "triggers")}
        return _structured("response_format", {"structural_tag": tagged})
    if kind not in ("json_object", "json_schema"):
        raise _bad("response_format", "the type must be text, json_object, json_schema or structural_tag")
    described = value.get("json_schema")
    # llama.cpp's way: the schema stands here itself, with either type.
    if value.get("schema") is not None:
        if described is not None:
            raise _bad("response_format", "the schema must be given once")
        return _structured("response_format", {"json": value["schema"]})
    if kind == "json_object":
        return Structured("json_object")
    if not isinstance(described, dict) or described.get("schema") is None:
        raise _bad("response_format", "json_schema must be provided, with a schema")
    for name, kind in (("name", str), ("description", str), ("strict", bool)):
        if not isinstance(described.get(name), kind | None):
            raise _bad("response_format", f"the schema's {name} must be a {kind.__name__}")
    return _structured("response_format", {"json": described["schema"]})


def _structured(param: str, forms: dict[str, Any]) -> Structured:
    if not isinstance(forms.get("choice"), list | None):
        raise _bad(param, "must have a list as its choice")
    if not isinstance(forms.get("json_object"), bool | None):
        raise _bad(param, "must have true or false as its json_object")
    try:
        found = named(forms)
    except ParameterError as e:
        raise _bad(param, str(e).removeprefix(e.param).strip()) from None
    if found.kind == "json_schema":
        check_schema(param, _parsed(param, found.text))
    for tag in tags(found.text) if found.kind == "structural_tag" else ():
        check_schema(param, tag.schema)
    return found


def _parsed(param: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _bad(param, "must be a JSON schema") from None


def _bad(param: str, message: str) -> ApiError:
    return bad_request(f"{param}: {message}.", param)
