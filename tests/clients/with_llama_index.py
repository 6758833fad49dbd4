"""llama-index: python with_llama_index.py URL."""

from __future__ import annotations

import sys

import checks
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model=checks.MODEL, api_base=f"{sys.argv[1]}/v1", api_key="none", is_chat_model=True, temperature=0, max_tokens=64
)


def chat() -> str:
    return checks.names_paris(model.chat([ChatMessage(role="user", content=checks.QUESTION)]).message.content)


def stream() -> str:
    parts = [part.delta or "" for part in model.stream_chat([ChatMessage(role="user", content=checks.QUESTION)])]
    return f"{len(parts)} parts: {checks.names_paris(''.join(parts))}"


def structured() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": checks.PERSON, "strict": True}}
    answer = model.chat([ChatMessage(role="user", content=checks.ABOUT)], response_format=form)
    return checks.person(answer.message.content)


checks.run({"chat": chat, "stream": stream, "JSON schema": structured})
