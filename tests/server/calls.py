"""How tests ask for completions, and what they expect of a refusal."""

from __future__ import annotations

from typing import Any

import httpx
import openai

from .conftest import MODEL


def ask(client: openai.OpenAI, prompt: Any = "hello", **more: Any) -> Any:
    return client.completions.create(model=MODEL, prompt=prompt, **{"temperature": 0, "max_tokens": 5, **more})


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": MODEL, "prompt": "hello", "max_tokens": 5, **fields})


def refused(response: httpx.Response, param: str | None) -> str:
    """A 400 of the one shape; its message."""
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert "\n" not in error["message"]
    return str(error["message"])


def texts(chunks: list[Any], count: int = 1) -> list[str]:
    return ["".join(c.choices[0].text for c in chunks if c.choices and c.choices[0].index == i) for i in range(count)]
