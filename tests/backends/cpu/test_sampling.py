"""Sampling agrees with the definition, token for token, where noise is skipped and where parts of a row are sorted."""

from __future__ import annotations

import pytest
import torch

from rustinfer.ops import argmax, sample
from tests.conftest import Saw

from .conftest import Bind

# temperature, top_k, top_p, min_p
SETTINGS = {
    "plain": (1.0, 0, 1.0, 0.0),
    "hot": (5.0, 0, 1.0, 0.0),
    "cold": (0.05, 0, 1.0, 0.0),
    "top-k": (1.3, 50, 1.0, 0.0),
    "top-p": (1.0, 0, 0.9, 0.0),
    "nearly all": (3.0, 0, 0.999, 0.0),
    "min-p": (1.5, 0, 1.0, 0.05),
    "all": (1.2, 200, 0.8, 0.02),
    "greedy": (0.0, 0, 1.0, 0.0),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("vocab", [49152, 1001])
def test_sample(bind: Bind, name: str, vocab: int) -> None:
    rows, generator = 24, torch.Generator().manual_seed(vocab)
    # In float64's neighbourhood: steps of 1/64 make ties, which both must break alike.
    logits = (torch.randn(rows, vocab, generator=generator) * 192).round() / 64
    temperature, top_k, top_p, min_p = SETTINGS[name]
    seeds = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)
    flow = (
        logits,
        torch.full((rows,), temperature),
        torch.full((rows,), top_k),
        torch.full((rows,), top_p),
        torch.full((rows,), min_p),
        seeds,
        torch.arange(rows) * 2**30,
    )
    assert torch.equal(bind(torch.float32).sample()(*flow), sample(*flow))


def test_shares_follow_the_logits(bind: Bind) -> None:
    rows, logits = 20000, torch.tensor([0.0, 1.0, 2.0, -1.0])
    ones, none = torch.ones(rows), torch.zeros(rows, dtype=torch.int64)
    flow = (logits.expand(rows, 4), ones, none, ones, ones * 0, torch.arange(rows), none)
    shares = bind(torch.float32).sample()(*flow).bincount(minlength=4) / rows
    torch.testing.assert_close(shares, logits.softmax(-1), atol=0.015, rtol=0)


@pytest.mark.parametrize("vocab", [1, 15, 16, 17, 49152])
def test_argmax(bind: Bind, vocab: int) -> None:
    logits = torch.randint(-3, 3, (5, vocab), generator=torch.Generator().manual_seed(vocab)).float()
    assert torch.equal(bind(torch.float32).argmax()(logits), argmax(logits))
    assert bind(torch.float32).argmax()(torch.full((1, vocab), -torch.inf)).item() == 0


@pytest.mark.parametrize("vocab", [1, 8191, 8193, 151_935, 151_937])
def test_t22_every_token_is_in_the_vocabulary(bind: Bind, vocab: int, saw: Saw) -> None:
    """Tokens drawn from a vocabulary that is no multiple of a tile."""
    logits = torch.randn(6, vocab, generator=torch.Generator().manual_seed(vocab))
    logits[1], logits[2], logits[3, ::2], logits[4] = torch.nan, -torch.inf, torch.inf, 0
    real, whole = torch.full((6,), 1.0), torch.zeros(6, dtype=torch.int64)
    for top_k, top_p in ((0, 1.0), (1, 1.0), (5, 0.9)):
        flow = (logits, real, whole + top_k, real * top_p, real * 0, torch.arange(6), whole)
        tokens = bind(torch.float32).sample()(*flow)
        assert ((tokens >= 0) & (tokens < vocab)).all()
    found = bind(torch.float32).argmax()(logits)
    assert ((found >= 0) & (found < vocab)).all()
    saw("each was one of the vocabulary, whatever the logits: NaN, infinite, equal", None)
