"""What goes wrong on a real device: no memory, a device that is lost; and a context of 30,000 tokens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import torch

from rustinfer import LLM, SamplingParams

from ..engine.tiny import save
from ..plugins.site import write

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
SMALL, LARGE = (40, 64), (14000, 8)  # tokens of a prompt and of its answer
Said = list[tuple[str | None, list[int]]]
STICKY = """
import os, torch
from rustinfer import hookimpl

@hookimpl
def rustinfer_wrap(binding):
    if binding.op.name != "embedding":
        return None
    inner = binding.call

    def lookup(tokens):
        if os.path.exists({mark!r}):
            os.remove({mark!r})
            tokens.new_zeros(4)[torch.full((4,), 10**9, device=tokens.device)] += 1
        return inner(tokens)

    return lookup
"""


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    sizes = {"max_model_len": 32768, "max_num_seqs": 8, "max_num_batched_tokens": 16384, "kv_cache_tokens": 98304}
    places = {"load_format": "dummy", "device": "cuda", "enable_prefix_caching": False}
    with LLM("llama-3.2-1b", **places, **sizes) as made:  # type: ignore[arg-type]
        yield made


def said(llm: LLM) -> Said:
    prompts = [{"prompt_token_ids": [(7 * i) % 100000 + 10 for i in range(length)]} for length, _ in (SMALL, LARGE)]
    params = [SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True) for _, tokens in (SMALL, LARGE)]
    done = llm.generate(prompts, params, use_tqdm=False)
    return [(r.outputs[0].finish_reason, list(r.outputs[0].token_ids)) for r in done]


def test_without_memory_only_the_request_that_needs_it_fails(llm: LLM) -> None:
    wanted = said(llm)
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (60 << 20)) / total)
    try:
        small, large = said(llm)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (small[0], len(small[1]), large[0]) == ("length", SMALL[1], "error")
    cache = llm._loaded.engine.cache  # type: ignore[union-attr]
    assert cache.available == cache.pool.total
    assert said(llm) == wanted


def test_a_long_context_is_decoded_as_its_prompt_would_be(llm: LLM) -> None:
    prompt = torch.randint(10, 120000, (30000,), generator=torch.Generator().manual_seed(1)).tolist()
    greedy = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True)
    tokens = list(llm.generate({"prompt_token_ids": prompt}, greedy, use_tqdm=False)[0].outputs[0].token_ids)
    scored = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, prompt_logprobs=1)
    done = llm.generate({"prompt_token_ids": prompt + tokens}, scored, use_tqdm=False)[0]
    places = (done.prompt_logprobs or [])[len(prompt) :]
    gaps = [max(p.logprob for p in at.values()) - at[t].logprob for at, t in zip(places, tokens, strict=True) if at]
    assert len(gaps) == 48
    assert max(gaps) < 0.1  # nats that bfloat16 may decide
    assert sum(gap == 0 for gap in gaps) > 40


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_lost_device_ends_the_engine_in_one_line_and_the_supervisor_starts_another(tmp_path: Path) -> None:
    mark, log = tmp_path / "now", tmp_path / "log"
    write(tmp_path / "site", "acme_sticky", STICKY.format(mark=str(mark)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    sizes = ["--max-num-seqs", "8", "--kv-cache-tokens", "1024", "--enforce-eager"]
    command = [sys.executable, "-m", "rustinfer.cli", "serve", str(save(tmp_path / "tiny")), "--device", "cuda", *sizes]
    env = os.environ | {"CUDA_LAUNCH_BLOCKING": "1", "PYTHONPATH": path}
    with log.open("w") as output:
        served = subprocess.Popen([*command, "--port", str(port)], env=env, stdout=output, stderr=subprocess.STDOUT)

    def healthy() -> bool:
        assert served.poll() is None, log.read_text()[-3000:]
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def answer() -> httpx.Response:
        body = {"model": "tiny", "prompt": "abc", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        return httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=60)

    try:
        until(healthy, 120)
        before = answer().json()["choices"][0]["text"]
        mark.touch()
        died = answer()
        if died.status_code == 200:  # the next engine was there within 3 s, and was asked once again
            assert (died.headers["x-retried"], died.json()["choices"][0]["text"]) == ("1", before)
        else:
            assert died.status_code >= 500
        until(healthy, 60)
        assert answer().json()["choices"][0]["text"] == before
    finally:
        served.terminate()
        served.wait(20)
    told = [line for line in log.read_text().splitlines() if "the device failed" in line]
    assert len(told) == 1
    assert "in embedding by the back end triton (triton) with tokens [" in told[0]
    assert "requests " in told[0]
