"""Haystack: python with_haystack.py URL."""

from __future__ import annotations

import sys
from typing import Any

import checks
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import Tool
from haystack.utils import Secret

WHERE = {"api_key": Secret.from_token("none"), "api_base_url": f"{sys.argv[1]}/v1", "model": checks.MODEL}
QUESTION = ChatMessage.from_user(checks.QUESTION)
WEATHER = Tool(
    name="get_weather",
    description="The weather in a city.",
    parameters=checks.WEATHER["function"]["parameters"],
    function=lambda city: f"Sunny in {city}.",
)


def chat_reply(*messages: ChatMessage, **more: Any) -> ChatMessage:
    asked = {"temperature": 0, "max_tokens": 64, **more.pop("generation_kwargs", {})}
    return OpenAIChatGenerator(**WHERE, generation_kwargs=asked, **more).run(list(messages))["replies"][0]


def response_reply(*messages: ChatMessage, **more: Any) -> ChatMessage:
    asked = {"temperature": 0, "max_output_tokens": 64, **more.pop("generation_kwargs", {})}
    return OpenAIResponsesChatGenerator(**WHERE, generation_kwargs=asked, **more).run(list(messages))["replies"][0]


def chat() -> str:
    return checks.names_paris(chat_reply(QUESTION).text)


def stream() -> str:
    parts: list[StreamingChunk] = []
    text = chat_reply(QUESTION, streaming_callback=parts.append).text
    return f"{len(parts)} parts: {checks.names_paris(text)}"


def tools() -> str:
    asked = {"tools": [WEATHER], "generation_kwargs": {"tool_choice": "required", "parallel_tool_calls": False}}
    (call,) = chat_reply(QUESTION, **asked).tool_calls
    assert set(call.arguments) == {"city"}
    return f"{call.tool_name}({call.arguments})"


def structured() -> str:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": checks.PERSON, "strict": True}}
    return checks.person(
        chat_reply(ChatMessage.from_user(checks.ABOUT), generation_kwargs={"response_format": form}).text
    )


def responses() -> str:
    """A call, its result, and an answer."""
    made = response_reply(QUESTION, tools=[WEATHER], generation_kwargs={"tool_choice": "required"})
    results = [ChatMessage.from_tool(tool_result="Sunny.", origin=call) for call in made.tool_calls]
    text = response_reply(QUESTION, made, *results, tools=[WEATHER]).text
    assert text, "the answer is empty"
    return f"{made.tool_calls[0].tool_name}({made.tool_calls[0].arguments}), then: {text}"


def embeddings() -> str:
    return f"{len(OpenAITextEmbedder(**WHERE).run('cat')['embedding'])} numbers"


checks.run(
    {
        "chat": chat,
        "stream": stream,
        "tools": tools,
        "JSON schema": structured,
        "responses": responses,
        "embeddings": embeddings,
    }
)
