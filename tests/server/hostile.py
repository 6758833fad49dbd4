"""Requests that nobody would send in good faith: valid ones, spoilt in one to three places, or in their bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from .conftest import MODEL

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "d"},
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 4,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"5": 1},
    "chat_template_kwargs": {"a": 1},
    "metadata": {"a": "b"},
}
FORMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {}}}}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {
        "model": MODEL, "prompt": ["a", "b"], "max_tokens": 4, "n": 2, "best_of": 3, "echo": True, "logprobs": 1,
        "stop": ["x"], "seed": 1, "temperature": 0.5, "top_p": 0.9, "stop_token_ids": [3], "allowed_token_ids": [4],
        "bad_words": ["q"], "response_format": FORMED, "priority": 1, "cache_salt": "s",
    },
    "/v1/responses": {
        "model": MODEL, "instructions": "a", "max_output_tokens": 4, "tools": [{"type": "function", "name": "f"}],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "d"},
        ],
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}, "include": [], "reasoning": {},
    },
    "/v1/embeddings": {"model": MODEL, "input": ["a", "b"], "encoding_format": "base64"},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [1, 2]},
    "/v1/responses/input_tokens": {"model": MODEL, "input": "a"},
}  # fmt: skip


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}} if depth % 2 else [value]
    return value


VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 1.5, 1e308, -0.0, "", "a", "\0", "\u202e", "🙂",
    "a/b", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "{{ 7*7 }}", "<|end|>", "x" * 5000,
    "{% for i in range(10**9) %}x{% endfor %}", [], {}, [[]], [{}], [None], {"": None}, {"__proto__": 1},
    {"type": "object"}, {"$ref": "#"}, {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}},
    ["a"] * 300, list(range(300)), [2**40], _deep(40), _deep(201), {str(i): i for i in range(300)}, "auto",
    "required", {"type": "json_schema"}, {"type": "regex"}, "NaN",
]  # fmt: skip
KEYS = ["", "a", "stream", "n", "model", "tools", "messages", "functions", "suffix", "user", "\n", "x" * 300, "ü"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def spoilt(body: dict[str, Any], luck: Random) -> dict[str, Any]:
    """The body with something replaced, taken away or added."""
    made = copy.deepcopy(body)
    for _ in range(luck.randint(1, 3)):
        *outer, last = luck.choice([*places(made), ("model",)])
        at: Any = made
        for key in outer:
            at = at[key]
        what = luck.random()
        if what < 0.15 and isinstance(at, dict):
            at.pop(last, None)
        elif what < 0.3 and isinstance(at, dict):
            at[luck.choice(KEYS)] = copy.deepcopy(luck.choice(VALUES))
        else:
            at[last] = copy.deepcopy(luck.choice(VALUES))
    return made


def requests(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Paths and bodies. One in ten is spoilt in its bytes, too."""
    luck = Random(seed)
    for _ in range(count):
        path = luck.choice(list(BODIES))
        raw = json.dumps(spoilt(BODIES[path], luck), ensure_ascii=luck.random() < 0.5).encode("utf-8", "surrogatepass")
        if luck.random() < 0.1:
            raw = bytearray(raw)
            for _ in range(luck.randint(1, 4)):
                at = luck.randrange(len(raw) + 1)
                raw[at : at + luck.randint(0, 3)] = luck.choice(
                    [b"", b"\0", b"\xff", b'"', b"{", b"[", b"NaN", b"1e999", b"\\u"]
                )
        yield path, bytes(raw)
