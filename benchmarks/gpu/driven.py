"""The engine by itself: random weights, requests of random ids, and steps until they are where they should be."""

from __future__ import annotations

import random
from itertools import count as counted
from typing import Any

from rustinfer.engine.build import Loaded, load
from rustinfer.engine.options import Options
from rustinfer.engine.sequence import Request
from rustinfer.protocol.sampling import SamplingParams

_NUMBERS = counted()


def opened(model: str, **flags: Any) -> Loaded:
    """A model of random weights on the GPU; no prompt finds another's prefix."""
    sizes = {"max_model_len": 9216, "max_num_batched_tokens": 16384, **flags}
    return load(model, Options(device="cuda", load_format="dummy", enable_prefix_caching=False, **sizes))


def ids(source: random.Random, tokens: int) -> list[int]:
    """So many, none of them special."""
    return [source.randrange(10, 120000) for _ in range(tokens)]


def ask(engine: Any, prompt: list[int], answer: int, temperature: float = 0.0, *, streamed: bool = False) -> None:
    """One more request, for exactly so many tokens of answer; as `LLM.generate` asks, or for one who reads each."""
    params = SamplingParams(temperature=temperature, max_tokens=answer, ignore_eos=True)
    engine.add(Request(f"{next(_NUMBERS)}", prompt, params, streamed=streamed))


def fill(engine: Any, count: int, *, made: int, answer: int, context: int = 512, temperature: float = 0.0) -> None:
    """So many sequences at once, each with `made` tokens of its answer or more."""
    source = random.Random(count)
    for _ in range(count):
        ask(engine, ids(source, context), answer, temperature)
    while engine.scheduler.waiting or any(sequence.generated < made for sequence in engine.scheduler.running):
        engine.step()


def drain(engine: Any) -> None:
    """Steps until nobody waits for anything."""
    while engine.has_work:
        engine.step()
