"""How tests ask in a chat."""

from __future__ import annotations

from typing import Any

import httpx
import openai

from .conftest import MODEL

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}]

PROMPT = "system: Be brief.\nuser: Where?\nassistant: "


def ask(client: openai.OpenAI, messages: Any = MESSAGES, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, **{"temperature": 0, "max_tokens": 8, **more})


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": MODEL, "messages": MESSAGES, "max_tokens": 8, **fields})


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
