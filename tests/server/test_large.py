"""Answers of unusual size: the same JSON as any other, and nobody waits while it is written."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from rustinfer.server import large
from rustinfer.server.answer import Finished
from rustinfer.server.errors import dump

from .conftest import MODEL, LiveServer

CASES: dict[str, Any] = {
    "small": {"a": [1, 2, {"b": None}], "c": "é"},
    "nothing": {"a": [], "b": {}, "c": [[]] * 3000},
    "numbers": [0.5] * 10_001,
    "vectors": {"data": [{"i": i, "v": [0.25] * 3000} for i in range(7)], "x": 1},
    "choices": [{"n": i, "t": [{"token": "ü", "top": [{"p": -0.5}] * 20}] * 300} for i in range(9)],
    "echoed": {"top_logprobs": [None, *[{str(n): -0.5 for n in range(20)}] * 900]},
    "uneven": [[], [1] * 5000, [2], [3] * 9000],
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_same_json(name: str) -> None:
    content = CASES[name]
    assert b"".join(large.blocks(content)) == dump(content)


def test_pieces_are_short() -> None:
    for name in ("numbers", "vectors", "choices", "echoed"):
        sizes = [len(piece) for piece in large.pieces(CASES[name])]
        assert max(sizes) < 20 * large.INLINE
        assert len(sizes) > 3


def test_a_prompts_scores_count_as_an_answers_do() -> None:
    scores = [(-1.0, [(n, -1.0) for n in range(20)], 1)] * 200
    assert Finished(prompt_logprobs=scores).size == 200 * 21
    assert large.weight([None, *[{"a": -0.5}] * 200]) > 400


def test_others_have_their_turn_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop is waited for between pieces, none of which is long: who wrote in it would wait for ever."""
    sizes: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def watched(value: Any) -> bytes:
            if len(sizes) % 20 == 0:
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)
            sizes.append(large.weight(value))
            return dump(value)

        monkeypatch.setattr(large, "dump", watched)
        response = await large.respond({"data": [{"v": [0.123456789] * 2000} for _ in range(1000)]}, {})
        assert int(response.headers["content-length"]) > 20 << 20

    asyncio.run(run())
    assert len(sizes) > 1000
    assert max(sizes) <= 2 * large.INLINE


def test_an_answer_with_log_probabilities(server: LiveServer) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "n": 64, "max_tokens": 20}
    url = f"{server.url}/v1/chat/completions"
    answer = httpx.post(url, json={**body, "logprobs": True, "top_logprobs": 20}, timeout=60)
    assert [len(each["logprobs"]["content"]) for each in answer.json()["choices"]] == [20] * 64
    assert int(answer.headers["content-length"]) == len(answer.content) > large.BLOCK_BYTES


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_kept_is_used_up_while_it_is_written(name: str) -> None:
    content = json.loads(dump(CASES[name]))
    assert b"".join(large.blocks(content, kept=False)) == dump(CASES[name])
    if name == "choices":
        assert content == [None] * 9


def test_a_long_list_is_emptied() -> None:
    values = [object()] * 1234
    large.drop(values)
    assert values == []
