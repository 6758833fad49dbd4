"""langchain-openai: python with_langchain.py URL."""

from __future__ import annotations

import sys

import checks
from langchain_openai import ChatOpenAI

model = ChatOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", model=checks.MODEL, temperature=0, max_tokens=64)


def stream() -> str:
    parts = [part.content for part in model.stream(checks.QUESTION)]
    return f"{len(parts)} parts: {checks.names_paris(''.join(parts))}"


def structured() -> str:
    schema = {"title": "person", "description": "A person.", **checks.PERSON}
    return checks.person(model.with_structured_output(schema, method="json_schema").invoke(checks.ABOUT))


def tools() -> str:
    bound = model.bind_tools([checks.WEATHER], tool_choice="any")
    (call,) = bound.invoke("What is the weather in Paris?").tool_calls
    assert set(call["args"]) == {"city"}
    return f"{call['name']}({call['args']})"


checks.run({"stream": stream, "tools": tools, "JSON schema": structured})
