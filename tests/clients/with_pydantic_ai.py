"""pydantic-ai: python with_pydantic_ai.py URL."""

from __future__ import annotations

import asyncio
import sys

import checks
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="none")
model = OpenAIChatModel(checks.MODEL, provider=provider)
SETTINGS = {"temperature": 0.0, "max_tokens": 64}


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


def stream() -> str:
    async def collect() -> list[str]:
        async with Agent(model, model_settings=SETTINGS).run_stream(checks.QUESTION) as run:
            return [part async for part in run.stream_text(delta=True, debounce_by=None)]

    parts = asyncio.run(collect())
    return f"{len(parts)} parts: {checks.names_paris(''.join(parts))}"


def tools() -> str:
    """Its usual way to a typed answer: a tool that must be called."""
    run = Agent(model, output_type=Person, model_settings=SETTINGS).run_sync(checks.ABOUT)
    return checks.person(run.output.model_dump())


def structured() -> str:
    run = Agent(model, output_type=NativeOutput(Person), model_settings=SETTINGS).run_sync(checks.ABOUT)
    return checks.person(run.output.model_dump())


checks.run({"stream": stream, "tools": tools, "JSON schema": structured})
