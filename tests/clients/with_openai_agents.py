"""openai-agents: python with_openai_agents.py URL."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import checks
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

set_tracing_disabled(True)


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


@function_tool
def get_weather(city: Annotated[str, Field(max_length=20)]) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


def agent(kind: Any = OpenAIResponsesModel, settings: dict[str, Any] | None = None, **more: Any) -> Agent:
    """A new client for each: a check has an event loop of its own."""
    client = AsyncOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
    asked = ModelSettings(temperature=0.0, max_tokens=64, **(settings or {}))
    return Agent(name="A", model=kind(model=checks.MODEL, openai_client=client), model_settings=asked, **more)


def chat() -> str:
    run = asyncio.run(Runner.run(agent(OpenAIChatCompletionsModel), checks.QUESTION))
    return checks.names_paris(run.final_output)


def stream() -> str:
    async def collect() -> tuple[int, str]:
        run = Runner.run_streamed(agent(), checks.QUESTION)
        return len([event async for event in run.stream_events()]), str(run.final_output)

    count, text = asyncio.run(collect())
    return f"{count} events: {checks.names_paris(text)}"


def tools() -> str:
    """A call, its result, and an answer."""
    asked = agent(tools=[get_weather], settings={"tool_choice": "required", "parallel_tool_calls": False})
    kinds = [item.type for item in asyncio.run(Runner.run(asked, "What is the weather in Paris?")).new_items]
    assert kinds == ["tool_call_item", "tool_call_output_item", "message_output_item"], kinds
    return " ".join(kinds)


def structured() -> str:
    run = asyncio.run(Runner.run(agent(output_type=Person), checks.ABOUT))
    return checks.person(run.final_output.model_dump())


def responses() -> str:
    """A conversation that the server keeps, and the same one sent whole."""

    async def talk() -> tuple[str, str]:
        asked, more = agent(), "What is the capital of Italy?"
        first = await Runner.run(asked, checks.QUESTION)
        kept = await Runner.run(asked, more, previous_response_id=first.last_response_id)
        sent = await Runner.run(asked, [*first.to_input_list(), {"role": "user", "content": more}])
        return str(kept.final_output), str(sent.final_output)

    kept, sent = asyncio.run(talk())
    assert kept == sent, (kept, sent)
    return kept


checks.run({"chat": chat, "stream": stream, "tools": tools, "JSON schema": structured, "responses": responses})
