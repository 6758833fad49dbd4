"""POST /v1/embeddings."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from rustinfer.server.embeddings import normalised

from .calls import refused
from .conftest import MODEL, LiveServer, wait_for
from .fake_engine import CONTEXT, VOCAB, FakeEngine
from .lifecycle import asking


def post(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/embeddings", json={"model": MODEL, "input": "ab", **fields})


def test_one_and_several(client: openai.OpenAI, engine: FakeEngine) -> None:
    one = client.embeddings.create(model=MODEL, input="ab", encoding_format="float")
    assert one.data[0].embedding == normalised([195.0, 3.0, 4.0, 0.0])
    assert (one.usage.prompt_tokens, one.usage.total_tokens) == (2, 2)
    assert engine.requests[-1].pool == "mean"
    several = client.embeddings.create(model=MODEL, input=["ab", "c"])  # the client asks for base64 by itself
    assert [d.index for d in several.data] == [0, 1]
    assert several.data[0].embedding == pytest.approx(one.data[0].embedding, abs=1e-6)
    ids = client.embeddings.create(model=MODEL, input=[[97, 98], [99]])
    assert ids.data[1].embedding == several.data[1].embedding


def test_base64_is_little_endian_float32(http: httpx.Client) -> None:
    plain = post(http).json()["data"][0]["embedding"]
    raw = base64.b64decode(post(http, encoding_format="base64").json()["data"][0]["embedding"])
    assert list(struct.unpack("<4f", raw)) == pytest.approx(plain, abs=1e-7)
    assert math.hypot(*plain) == pytest.approx(1)


def test_pooling_and_dimensions(http: httpx.Client, engine: FakeEngine) -> None:
    assert post(http, pooling="last", dimensions=4, zebra=1).headers["x-ignored-params"] == "zebra"
    assert engine.requests[-1].pool == "last"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": 5}, "input"),
        ({"input": [VOCAB]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "x" * (CONTEXT + 1)}, "input"),
        ({"dimensions": 3}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"pooling": "max"}, "pooling"),
        ({"user": 5}, "user"),
    ],
)
def test_bad_values_are_named(http: httpx.Client, fields: dict[str, Any], param: str) -> None:
    refused(post(http, **fields), param)


@pytest.fixture
def queue(server: LiveServer, engine: FakeEngine) -> Iterator[int]:
    """So many may wait in the engine."""
    wait_for(lambda: not engine.running and server.link.room.waiting == 0)
    engine.queue = 80
    server.link.room.engine(engine.queue)
    yield engine.queue
    wait_for(lambda: not engine.running and not server.link._jobs)
    assert server.link.room.waiting == 0
    server.link.room.engine(None)


def test_more_inputs_than_may_wait_come_as_others_end(
    http: httpx.Client, server: LiveServer, engine: FakeEngine, queue: int
) -> None:
    engine.hold = 0
    with ThreadPoolExecutor(1) as thread:
        many = thread.submit(post, http, input=[chr(97 + n % 26) for n in range(200)])
        wait_for(lambda: len(engine.requests) >= queue // 2)
        assert post(http, input="a" * (CONTEXT + 1)).status_code == 400  # another turn of the server's loop
        assert len(engine.requests) == server.link.room.waiting == queue // 2
        assert not many.done()
        engine.hold = None
        vectors = many.result().json()["data"]
    assert [v["embedding"] for v in vectors] == [normalised([97.0 + n % 26, 3.0, 4.0, 0.0]) for n in range(200)]
    assert len(engine.requests) == 200


def test_whoever_hangs_up_takes_along_the_inputs_that_were_not_sent(
    server: LiveServer, engine: FakeEngine, queue: int
) -> None:
    engine.hold = 0
    with asking(server, "/v1/embeddings", {"model": MODEL, "input": ["a"] * 200}):
        wait_for(lambda: len(engine.requests) >= queue // 2)
    wait_for(lambda: not engine.running and not server.link._jobs)
    assert len(engine.requests) == queue // 2


def test_zeros_have_no_direction() -> None:
    assert normalised([0.0, 0.0]) == [0.0, 0.0]
