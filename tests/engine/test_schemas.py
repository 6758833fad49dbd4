"""What the default model writes to a schema is valid: all that was written, or the beginning of it at its length."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from rustinfer import LLM, SamplingParams, StructuredOutputsParams

from .schemas import SCHEMAS, Schema

pytestmark = pytest.mark.model
QUESTION = [{"role": "user", "content": "Answer with an example, in JSON."}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("smollm2", max_model_len=512, max_num_seqs=32) as made:
        yield made


def check(llm: LLM, schemas: list[Schema], seeds: range, tokens: int = 200) -> int:
    """Ask for each schema with each seed; how many came to their end."""
    params = [
        SamplingParams(
            temperature=1.0, seed=s, max_tokens=tokens, structured_outputs=StructuredOutputsParams(json=schema)
        )
        for schema in schemas
        for s in seeds
    ]
    results = llm.chat([QUESTION] * len(params), params, use_tqdm=False)
    ended = 0
    for schema, result in zip([schema for schema in schemas for _ in seeds], results, strict=True):
        output = result.outputs[0]
        assert output.finish_reason in ("stop", "length"), output.stop_reason
        if output.finish_reason == "stop":
            Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
                json.loads(output.text)
            )
            ended += 1
    return ended


def test_there_are_fifty_different_ones() -> None:
    assert len({json.dumps(schema) for schema in SCHEMAS}) == 50


def test_some_schemas(llm: LLM) -> None:
    assert check(llm, SCHEMAS[5::9], range(1)) >= 4


def test_an_object_gets_no_properties_but_its_own(llm: LLM) -> None:
    schema = {"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"]}
    form = StructuredOutputsParams(json=schema)
    params = [SamplingParams(temperature=1.0, seed=s, max_tokens=40, structured_outputs=form) for s in range(8)]
    for result in llm.chat([QUESTION] * len(params), params, use_tqdm=False):
        assert json.loads(result.outputs[0].text).keys() == {"age"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_schemas_by_five_seeds(llm: LLM) -> None:
    ended = check(llm, SCHEMAS, range(5))
    print(f"{ended} of 250 came to their end")
    assert ended > 200
