"""Forms of outputs: several spellings, one fact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rustinfer import StructuredOutputsParams
from rustinfer.protocol.checks import ParameterError
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.protocol.structured import Structured

TAGS = {"structures": [{"begin": "<f=a>", "schema": {"const": 1}, "end": "</f>"}], "triggers": ["<f="]}


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (StructuredOutputsParams(json='{"type": "object"}'), "json_schema", '{"type": "object"}'),
        (StructuredOutputsParams(json={"type": "object"}), "json_schema", '{"type": "object"}'),
        (StructuredOutputsParams(json_object=True), "json_object", ""),
        (StructuredOutputsParams(regex="a+"), "regex", "a+"),
        (StructuredOutputsParams(choice=["a", "b"]), "choice", '["a", "b"]'),
        (StructuredOutputsParams(grammar='start: "a"'), "grammar", 'start: "a"'),
        (StructuredOutputsParams(structural_tag=TAGS), "structural_tag", json.dumps(TAGS)),
        (StructuredOutputsParams(structural_tag=json.dumps(TAGS)), "structural_tag", json.dumps(TAGS)),
        ({"regex": "a+"}, "regex", "a+"),
        ({"json": {"const": 1}, "regex": None}, "json_schema", '{"const": 1}'),
        (Structured("regex", "a"), "regex", "a"),
    ],
)
def test_every_spelling(given: object, kind: str, text: str) -> None:
    params = SamplingParams(structured_outputs=given)  # type: ignore[arg-type]
    assert params.structured_outputs == Structured(kind, text)  # type: ignore[arg-type]
    assert hash(params) == hash(SamplingParams(structured_outputs=Structured(kind, text)))  # type: ignore[arg-type]


def test_exactly_one() -> None:
    for given in ({}, {"regex": "a", "json_object": True}, {"json_object": False}):
        with pytest.raises(ParameterError, match="structured_outputs must have exactly one"):
            StructuredOutputsParams(**given)  # type: ignore[arg-type]


def test_unknown_kinds() -> None:
    with pytest.raises(ParameterError, match="json_object, json_schema, regex"):
        Structured("xml", "a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", "JSON"),
        ({"type": "structural_tag", "format": {"type": "any_text"}}, "structures"),
        (TAGS | {"structures": []}, "structures"),
        (TAGS | {"structures": [5]}, "structures"),
        (TAGS | {"structures": TAGS["structures"] * 129}, "structures"),
        (TAGS | {"structures": [{"begin": "<f=a>", "end": ""}]}, "schema"),
        (TAGS | {"structures": [{"begin": "<f=a>", "schema": {}, "end": 5}]}, "end"),
        (TAGS | {"triggers": []}, "triggers"),
        (TAGS | {"triggers": [""]}, "triggers"),
        (TAGS | {"triggers": ["<g="]}, "begins with none of the triggers"),
    ],
)
def test_tags_that_are_none(wrong: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        StructuredOutputsParams(structural_tag=wrong)
