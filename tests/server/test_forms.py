"""The form that an answer must have, under its several names; rows CH25 and CH26 of the behaviours."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .calls import refused
from .chats import post
from .fake_engine import FakeEngine

TAGS: dict[str, Any] = {"structures": [{"begin": "<f>", "schema": {"const": 1}, "end": "</f>"}], "triggers": ["<f>"]}
BAD_TAGS = {"structures": [{"begin": "<f>", "schema": {"type": "hiccup"}, "end": ""}], "triggers": ["<f>"]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "sound"}}, "response_format"),
        ({"response_format": {}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": 123}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"type": 123}}}, "response_format"),
        ({"response_format": {"type": "json_object", "schema": {"type": "hiccup"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "schema": []}}, "response_format"),
        ({"response_format": {"type": "json_schema", "schema": {}, "json_schema": {}}}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 123}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 123}}}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "hiccup"}}}},
            "response_format",
        ),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {"properties": {"a": {"items": {"type": "x"}}}}}, "guided_json"),
        ({"guided_json": {"anyOf": 5}}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_regex": 5}, "guided_regex"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"choice": "red"}}, "structured_outputs"),
        ({"structured_outputs": {"choice": ["red"], "json_object": {}}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"rhyme": "a"}}, "structured_outputs"),
        ({"regex": "a", "guided_choice": ["b"]}, "regex"),
        ({"ebnf": 5}, "ebnf"),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"response_format": {"type": "structural_tag", **TAGS, "triggers": ["x"]}}, "response_format"),
        ({"response_format": {"type": "structural_tag", **BAD_TAGS}}, "response_format"),
        ({"structured_outputs": {"structural_tag": "{"}}, "structured_outputs"),
        ({"guided_json": {"not": {"not": True}} | {"items": []}}, "guided_json"),
    ],
)
def test_ch25_ch26_bad_forms(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    message = refused(post(http, **fields), param)
    if fields == {"response_format": {"type": "json_schema"}}:
        assert "json_schema must be provided" in message


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", ""),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
            "json_schema",
            '{"type": "null"}',
        ),
        ({"response_format": {"type": "json_object", "schema": {"const": 4}}}, "json_schema", '{"const": 4}'),
        ({"response_format": {"type": "json_schema", "schema": {"const": 4}}}, "json_schema", '{"const": 4}'),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice", '["a", "b"]'),
        ({"guided_json": {"type": "object"}}, "json_schema", '{"type": "object"}'),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"regex": "a+"}, "regex", "a+"),
        ({"guided_grammar": "start: /a/"}, "grammar", "start: /a/"),
        ({"ebnf": 'root ::= "a"'}, "grammar", 'root ::= "a"'),
        ({"response_format": {"type": "structural_tag", **TAGS}}, "structural_tag", json.dumps(TAGS)),
        ({"structured_outputs": {"structural_tag": json.dumps(TAGS)}}, "structural_tag", json.dumps(TAGS)),
    ],
)
def test_forms_reach_the_engine(
    http: httpx.Client, engine: FakeEngine, fields: dict[str, Any], kind: str, text: str
) -> None:
    assert post(http, **fields).status_code == 200
    form = engine.requests[-1].sampling.structured_outputs
    assert form is not None
    assert (form.kind, form.text) == (kind, text)
