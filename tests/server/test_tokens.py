"""/tokenize and /detokenize; row CH31 of the behaviours."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from rustinfer.server.served import Served
from rustinfer.text import ChatTemplate

from .calls import refused
from .conftest import MODEL, LiveServer
from .fake_engine import CONTEXT, EOS, VOCAB

MESSAGES = [{"role": "user", "content": "Où?"}]
CHAT = {"model": MODEL, "messages": MESSAGES}


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_there_and_back(http: httpx.Client, prefix: str) -> None:
    found = http.post(f"{prefix}/tokenize", json={"prompt": "hé", "return_token_strs": True}).json()
    assert found == {"count": 3, "max_model_len": CONTEXT, "tokens": list("hé".encode()), "token_strs": ["h", "Ã", "©"]}
    assert http.post(f"{prefix}/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "hé"}
    assert http.post(f"{prefix}/detokenize", json={"model": MODEL, "tokens": [EOS]}).json() == {"prompt": "<|end|>"}
    assert http.post(f"{prefix}/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_a_client_can_write_prompts_itself(http: httpx.Client) -> None:
    told = http.get("/tokenizer_info").json()
    assert (told["eos_token"], told["bos_token"], told["model_max_length"]) == ("<|end|>", None, CONTEXT)
    written = ChatTemplate(told["chat_template"], eos_token=told["eos_token"]).render(MESSAGES)
    ids = http.post("/tokenize", json={"messages": MESSAGES}).json()["tokens"]
    assert http.post("/detokenize", json={"tokens": ids, "skip_special_tokens": False}).json()["prompt"] == written


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


@pytest.mark.parametrize("text", ["x" * 5_000_000, " " * 5_000_000], ids=["a word", "spaces"])
def test_f26_far_too_long_texts_are_refused_without_counting(http: httpx.Client, text: str) -> None:
    assert "1048576" in refused(http.post("/tokenize", json={"prompt": text}), "prompt")
    for path, body in (
        ("/v1/completions", {"model": MODEL, "prompt": text}),
        ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": text}]}),
        ("/tokenize", {"messages": [{"role": "user", "content": text}]}),
    ):
        answer = http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert str(len(text))[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize("text", ["x" * 1_000_000, " " * 1_000_000], ids=["a word", "spaces"])
def test_f26_long_texts_are_counted_off_the_loop(
    server: LiveServer, http: httpx.Client, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, encode = threading.Event(), Served.encode

    def held(*args: Any, **more: Any) -> Any:
        assert go_on.wait(60)
        return encode(*args, **more)

    monkeypatch.setattr(Served, "encode", held)
    with ThreadPoolExecutor(1) as thread, httpx.Client(base_url=server.url, timeout=20) as other:
        counting = thread.submit(http.post, "/tokenize", json={"prompt": text}, timeout=120)
        try:
            assert [other.get("/livez").status_code for _ in range(20)] == [200] * 20
            assert not counting.done()
        finally:
            go_on.set()
        assert counting.result().json()["count"] == 1_000_000
