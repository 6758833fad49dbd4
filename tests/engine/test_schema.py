"""How a schema is narrowed before it becomes a grammar."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rustinfer.engine.schema import narrowed

WORD = {"type": "string"}
NAMED = {"type": "object", "properties": {"a": WORD}}


def shut(schema: Any) -> Any:
    """Narrowed, less the white space."""
    found = json.loads(narrowed(json.dumps(schema)))
    del found["x-guidance"]
    return found


def test_an_object_has_no_properties_but_those_it_names() -> None:
    assert shut(NAMED) == {**NAMED, "additionalProperties": False}
    assert shut({"type": "object", "properties": {}})["additionalProperties"] is False
    for holder in ("items", "anyOf", "prefixItems", "$defs", "properties"):
        part = {"items": NAMED, "anyOf": [NAMED], "prefixItems": [NAMED]}.get(holder, {"x": NAMED})
        assert '"additionalProperties": false' in json.dumps(shut({holder: part})[holder]), holder


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**NAMED, "additionalProperties": True},
        {**NAMED, "additionalProperties": WORD},
        {**NAMED, "patternProperties": {"^x": WORD}},
        {**NAMED, "required": ["b"]},
        {**NAMED, "required": ["a"], "minProperties": 2},
        {"allOf": [NAMED, {"properties": {"b": WORD}}]},
        {**NAMED, "anyOf": [{"properties": {"b": WORD}}]},
        {**NAMED, "$ref": "#/$defs/x", "$defs": {"x": {"properties": {"b": WORD}}}},
        {"enum": [{"properties": {}}]},
        {"const": {"properties": {}}},
    ],
    ids=json.dumps,
)
def test_what_is_open_by_its_own_word_or_combined_stays_open(schema: Any) -> None:
    assert shut(schema) == schema


def test_white_space_is_fixed_unless_the_schema_says_otherwise() -> None:
    assert json.loads(narrowed("{}"))["x-guidance"]["whitespace_flexible"] is False
    free = '{"x-guidance": {"whitespace_flexible": true}}'
    assert json.loads(narrowed(free))["x-guidance"]["whitespace_flexible"] is True
    assert narrowed("true") == "true"
