"""Rows that are not finite are told, whichever way and whichever kernels they are drawn with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rustinfer.engine.draw import Draw
from rustinfer.engine.sampler import Sampler
from rustinfer.engine.sequence import Request, Sequence
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.registry import Binder, Policy, Target

from .tiny import plugins

VOCAB = 1000
NAN, INF = torch.nan, torch.inf


def row(*changes: tuple[slice | int, float]) -> Tensor:
    logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(1))
    for at, value in changes:
        logits[at] = value
    return logits


WHOLE = slice(None)
ROWS = {
    "sound": (row(), True),
    "some tokens impossible": (row((slice(3, 900), -INF)), True),
    "nothing but NaN": (row((WHOLE, NAN)), False),
    "one NaN": (row((500, NAN)), False),
    "the first is NaN": (row((0, NAN)), False),
    "the last is NaN": (row((VOCAB - 1, NAN)), False),
    "every other one NaN": (row((slice(None, None, 2), NAN)), False),
    "NaN between impossible ones": (row((WHOLE, -INF), (7, NAN), (8, 1.0)), False),
    "infinite": (row((3, INF)), False),
    "infinite and NaN": (row((3, INF), (4, NAN)), False),
    "all impossible": (row((WHOLE, -INF)), False),
}
WANTED = [sound for _, sound in ROWS.values()]
SETTINGS = {"greedy": None, "random": (1.0, 0, 1.0, 0.0), "narrowed": (0.7, 5, 0.9, 0.1)}


@pytest.fixture(params=["", "reference"], ids=["kernels", "references"])
def ops(request: pytest.FixtureRequest) -> Binder:
    target = Target.of("cpu", torch.float32).decoding(len(ROWS))
    return Binder(plugins().registry, target, Policy(tuple(filter(None, [request.param]))))


@pytest.mark.parametrize("name", SETTINGS)
def test_plain_draws(ops: Binder, name: str) -> None:
    logits, settings = torch.stack([logits for logits, _ in ROWS.values()]), None
    if (chosen := SETTINGS[name]) is not None:
        kinds = torch.float32, torch.int64, torch.float32, torch.float32
        settings = tuple(torch.full((len(ROWS),), value, dtype=kind) for value, kind in zip(chosen, kinds, strict=True))
        settings += (torch.arange(len(ROWS)),)
    tokens, told = Draw(ops)(logits, settings, torch.zeros(len(ROWS), dtype=torch.int64))
    assert [token >= 0 for token in told.tolist()] == WANTED
    assert ((tokens >= 0) & (tokens < VOCAB)).all()  # the next step is fed these, whatever comes of them


def test_the_sampler(ops: Binder) -> None:
    sequences = [Sequence(Request(name, [1], SamplingParams(logprobs=1)), 0, 0, 5, 0) for name in ROWS]
    for sequence in sequences:
        sequence.computed = 1
    drawn = Sampler(ops, VOCAB)(torch.stack([logits for logits, _ in ROWS.values()]), sequences)
    unsound = drawn.read(drawn.tensors).unsound
    assert [i not in unsound for i in range(len(ROWS))] == WANTED
