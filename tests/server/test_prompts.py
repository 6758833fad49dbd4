"""Prompts that are none, or too many, or too long; rows C17 to C20 of the behaviours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .calls import post, refused
from .conftest import MODEL
from .fake_engine import VOCAB


@pytest.mark.parametrize("prompt", ["", [], [[]], ["a", ""], None, 5, {"a": 1}, [1, "a"], [[1], [True]], [1.5]])
def test_c17_bad_prompt(http: httpx.Client, prompt: Any) -> None:
    refused(post(http, prompt=prompt), "prompt")


def test_c17_prompt_absent(http: httpx.Client) -> None:
    refused(http.post("/v1/completions", json={"model": MODEL}), "prompt")


@pytest.mark.parametrize("prompt", [[VOCAB], [2**31], [-1], [[1], [VOCAB]], [[2**31]], [[1], [-1]], [10**30]])
def test_c18_out_of_vocabulary(http: httpx.Client, prompt: Any) -> None:
    assert "out of vocabulary" in refused(post(http, prompt=prompt), "prompt")
    assert post(http).status_code == 200


def test_c19_prompt_cap(http: httpx.Client) -> None:
    assert post(http, prompt=["a"] * 256, max_tokens=1).status_code == 200
    assert "256" in refused(post(http, prompt=["a"] * 257), "prompt")


@pytest.mark.parametrize("stream", [False, True])
def test_c20_l3_context(http: httpx.Client, stream: bool) -> None:
    response = post(http, prompt="x" * 500, max_tokens=13, stream=stream)
    message = refused(response, "prompt")
    assert "512" in message
    assert "500" in message
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert post(http, prompt="x" * 500, max_tokens=12).status_code == 200
    clamped = http.post("/v1/completions", json={"model": MODEL, "prompt": "x" * 510})
    assert clamped.json()["usage"]["completion_tokens"] == 2
    assert clamped.json()["choices"][0]["finish_reason"] == "length"
