"""instructor: python with_instructor.py URL."""

from __future__ import annotations

import sys

import checks
import instructor
from openai import OpenAI
from pydantic import BaseModel, Field

plain = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


def stream() -> str:
    """A chat through its client, the answer growing part by part."""
    asked = [{"role": "user", "content": checks.ABOUT}]
    parts = list(
        client.chat.completions.create_partial(
            model=checks.MODEL, messages=asked, response_model=Person, temperature=0, max_tokens=64
        )
    )
    return f"{len(parts)} parts: {checks.person(parts[-1].model_dump())}"


def structured() -> str:
    asked = [{"role": "user", "content": checks.ABOUT}]
    person = client.chat.completions.create(
        model=checks.MODEL, messages=asked, response_model=Person, temperature=0, max_tokens=64, max_retries=0
    )
    return checks.person(person.model_dump())


def tools() -> str:
    """The way it goes without being told: by a tool that must be called."""
    asked = [{"role": "user", "content": checks.ABOUT}]
    person = instructor.from_openai(plain).chat.completions.create(
        model=checks.MODEL, messages=asked, response_model=Person, temperature=0, max_tokens=64, max_retries=0
    )
    return checks.person(person.model_dump())


checks.run({"stream": stream, "tools": tools, "JSON schema": structured})
