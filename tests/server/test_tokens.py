"""/tokenize and /detokenize; row CH31 of the behaviours."""

from __future__ import annotations

import httpx
import pytest

from .conftest import MODEL
from .fake_engine import CONTEXT, EOS, VOCAB
from .test_completions import refused

MESSAGES = [{"role": "user", "content": "Où?"}]
CHAT = {"model": MODEL, "messages": MESSAGES}


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_there_and_back(http: httpx.Client, prefix: str) -> None:
    found = http.post(f"{prefix}/tokenize", json={"prompt": "hé", "return_token_strs": True}).json()
    assert found == {"count": 3, "max_model_len": CONTEXT, "tokens": list("hé".encode()), "token_strs": ["h", "Ã", "©"]}
    assert http.post(f"{prefix}/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "hé"}
    assert http.post(f"{prefix}/detokenize", json={"model": MODEL, "tokens": [EOS]}).json() == {"prompt": "<|end|>"}
    assert http.post(f"{prefix}/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_ch31_a_chats_tokens_are_its_prompt_tokens(http: httpx.Client) -> None:
    used = http.post("/v1/chat/completions", json=CHAT | {"max_tokens": 1}).json()["usage"]["prompt_tokens"]
    assert http.post("/tokenize", json=CHAT).json()["count"] == used
    assert http.post("/tokenize", json={"messages": MESSAGES}).json()["count"] == used
    assert http.post("/v1/chat/completions/input_tokens", json=CHAT).json()["input_tokens"] == used
    asked = {"model": MODEL, "input": "Où?"}
    assert http.post("/v1/responses/input_tokens", json=asked).json()["input_tokens"] == used
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert http.post("/tokenize", json=CHAT | {"tools": tools}).json()["count"] > used


def test_bad_requests(http: httpx.Client) -> None:
    refused(http.post("/tokenize", json={}), "prompt")
    refused(http.post("/tokenize", json={"prompt": "a", "messages": []}), "prompt")
    refused(http.post("/tokenize", json={"prompt": 5}), "prompt")
    refused(http.post("/tokenize", json={"messages": [{}]}), "messages[0].role")
    refused(http.post("/detokenize", json={"tokens": [VOCAB]}), "tokens")
    refused(http.post("/detokenize", json={"tokens": "x"}), "tokens")
    refused(http.post("/detokenize", json={}), "tokens")
    assert http.post("/tokenize", json={"model": "gpt-9", "prompt": "a"}).status_code == 404
