from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.ops.philox import gumbel
from rustinfer.ops.sampling import cutoff


def draw(logits: Tensor, *, t: float = 1.0, k: int = 0, p: float = 1.0, m: float = 0.0, seed: int = 1) -> Tensor:
    """One token per row of logits, positions counting up."""
    rows = len(logits)
    temperature, top_p, min_p = (torch.full((rows,), value) for value in (t, p, m))
    seeds, positions = torch.full((rows,), seed), torch.arange(rows)
    tokens: Tensor = ops.sample(logits, temperature, torch.full((rows,), k), top_p, min_p, seeds, positions)
    return tokens


def kept(logits: list[float], **options: Any) -> set[int]:
    """Every token that 2000 draws at a high temperature bring up."""
    return set(draw(torch.tensor(logits).expand(2000, -1), **options).tolist())


def test_argmax_takes_the_first_of_equals() -> None:
    assert ops.argmax(torch.tensor([[1.0, 3.0, 3.0], [5.0, 5.0, 5.0]])).tolist() == [1, 0]


def test_temperature_zero_is_argmax() -> None:
    logits = torch.randn(50, 300)
    assert torch.equal(draw(logits, t=0.0, k=7, p=0.5, m=0.3), logits.argmax(-1))


def test_one_kept_token_is_argmax() -> None:
    logits = torch.randn(50, 300)
    for options in ({"k": 1}, {"p": 1e-9}, {"m": 1.0}):
        assert torch.equal(draw(logits, t=5.0, **options), logits.argmax(-1))


def test_frequencies_are_those_of_the_softmax() -> None:
    logits, temperature, draws = torch.tensor([0.5, 2.0, -1.0, 0.0, 1.0, -2.5]), 1.3, 40_000
    shares = draw(logits.expand(draws, -1), t=temperature).bincount(minlength=6) / draws
    wanted = (logits / temperature).softmax(-1)
    # Six standard deviations of a binomial share.
    assert ((shares - wanted).abs() < 6 * (wanted * (1 - wanted) / draws).sqrt()).all()


PROBABILITIES = [0.4, 0.05, 0.3, 0.15, 0.1]
LOGITS = torch.tensor(PROBABILITIES).log().tolist()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"k": 2}, {0, 2}),
        ({"k": 99}, {0, 1, 2, 3, 4}),
        ({"p": 0.39}, {0}),
        ({"p": 0.41}, {0, 2}),
        ({"p": 0.69}, {0, 2}),
        ({"p": 0.71}, {0, 2, 3}),
        ({"p": 0.96}, {0, 1, 2, 3, 4}),
        ({"m": 0.2}, {0, 2, 3, 4}),
        ({"m": 0.5}, {0, 2}),
        # Of the three likeliest, 0.4 / 0.85 is 0.47 and with 0.3 it is 0.82.
        ({"k": 3, "p": 0.8}, {0, 2}),
        ({"k": 3, "p": 0.83}, {0, 2, 3}),
    ],
)
def test_what_is_kept(options: dict[str, Any], tokens: set[int]) -> None:
    assert kept(LOGITS, **options) == tokens


def test_equals_of_the_last_kept_token_are_kept() -> None:
    assert kept([1.0, 0.0, 0.0, -1.0], k=2) == {0, 1, 2}
    assert kept([0.0, 0.0, 0.0, 0.0], p=0.3) == {0, 1, 2, 3}


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    [case] = [c for c in ops.sample.make_cases(torch.float32, torch.device("cpu")) if c.name == "mixed of 1000"]
    together = ops.sample(*case.flow)
    alone = [ops.sample(*(x[row : row + 1] for x in case.flow)) for row in range(len(together))]
    assert torch.equal(together, torch.cat(alone))


def test_nothing_is_sorted_unless_a_row_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("sorted")

    logits = torch.randn(3, 40)
    monkeypatch.setattr(Tensor, "sort", refuse)
    draw(logits, m=0.1)
    draw(logits, t=0.0, k=5)
    with pytest.raises(AssertionError, match="sorted"):
        draw(logits, k=5)


@pytest.mark.parametrize("name", [c.name for c in ops.sample.make_cases(torch.float32, torch.device("cpu"))])
def test_no_case_holds_a_near_tie(name: str) -> None:
    """Kernels compute in float32 and are compared exactly, so the runner-up must be clearly behind."""
    [case] = [c for c in ops.sample.make_cases(torch.float32, torch.device("cpu")) if c.name == name]
    logits, temperature, top_k, top_p, min_p, seeds, positions = case.flow
    if not len(logits) or logits.shape[1] == 1:
        return
    logits, random = logits.double(), temperature > 0
    scaled = logits / temperature.double().where(random, 1)[:, None]
    scaled = scaled.masked_fill(scaled < cutoff(scaled, top_k, top_p.double(), min_p.double()), -torch.inf)
    scores = (scaled + gumbel(seeds, positions, logits.shape[1])).where(random[:, None], logits)
    best, second = scores.topk(2).values.unbind(-1)
    finite = best.isfinite()  # elsewhere no score is near
    assert (best - second > 1e-5 * best.abs().clamp(min=1))[finite].all()
