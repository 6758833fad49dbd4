"""litellm: python with_litellm.py URL."""

from __future__ import annotations

import sys

import checks
import litellm

COMMON = {
    "model": f"openai/{checks.MODEL}",
    "api_base": f"{sys.argv[1]}/v1",
    "api_key": "none",
    "temperature": 0,
    "max_tokens": 64,
}


def stream() -> str:
    asked = [{"role": "user", "content": checks.QUESTION}]
    parts = [part.choices[0].delta.content or "" for part in litellm.completion(messages=asked, stream=True, **COMMON)]
    return f"{len(parts)} parts: {checks.names_paris(''.join(parts))}"


def structured() -> str:
    asked = [{"role": "user", "content": checks.ABOUT}]
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": checks.PERSON, "strict": True}}
    answer = litellm.completion(messages=asked, response_format=form, **COMMON)
    return checks.person(answer.choices[0].message.content)


def tools() -> str:
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    answer = litellm.completion(messages=asked, tools=[checks.WEATHER], tool_choice="required", **COMMON)
    (call,) = answer.choices[0].message.tool_calls
    assert "city" in call.function.arguments
    return f"{call.function.name}({call.function.arguments})"


def embeddings() -> str:
    common = {name: COMMON[name] for name in ("model", "api_base", "api_key")}
    answer = litellm.embedding(input=["a cat"], **common)
    return f"{len(answer.data[0]['embedding'])} numbers"


checks.run({"stream": stream, "tools": tools, "JSON schema": structured, "embeddings": embeddings})
