from __future__ import annotations

import math

import pytest
import torch

from rustinfer import ops
from rustinfer.ops.typical import distances


def kept(probabilities: list[float], typical_p: float, temperature: float = 1.0) -> list[int]:
    """The tokens that stay."""
    logits = temperature * torch.tensor([probabilities]).log()
    ops.keep_typical(logits, torch.tensor([0]), torch.tensor([temperature]), torch.tensor([typical_p]))
    return logits[0].isfinite().nonzero().flatten().tolist()


def by_hand(probabilities: list[float], typical_p: float) -> list[int]:
    """Token by token, nearest first, until there is enough mass."""
    entropy = -sum(p * math.log(p) for p in probabilities)
    order = sorted(range(len(probabilities)), key=lambda i: abs(-math.log(probabilities[i]) - entropy))
    found, mass = [], 0.0
    while mass < typical_p:
        found.append(order[len(found)])
        mass += probabilities[found[-1]]
    return sorted(found)


@pytest.mark.parametrize("typical_p", [0.05, 0.2, 0.45, 0.7, 0.88, 0.97])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_agrees_with_the_formula(typical_p: float, temperature: float) -> None:
    probabilities = [0.36, 0.04, 0.31, 0.17, 0.02, 0.1]
    assert kept(probabilities, typical_p, temperature) == by_hand(probabilities, typical_p)


def test_the_likeliest_token_may_go() -> None:
    # Entropy 1.85: 0.5 has a surprisal of 0.69, 0.0625 one of 2.77, 0.3125 one of 1.16.
    assert kept([0.5, 0.3125, 0.0625, 0.0625, 0.0625], 0.2) == [1]


def test_one_keeps_all() -> None:
    assert kept([0.9, 0.1 - 1e-7, 1e-7], 1.0) == [0, 1, 2]


@pytest.mark.parametrize("name", [c.name for c in ops.keep_typical.make_cases(torch.float32, torch.device("cpu"))])
def test_no_case_ends_near_another_token(name: str) -> None:
    """Kernels compute in float32: the mass up to the last kept token, and its distance, must be clearly apart."""
    [case] = [c for c in ops.keep_typical.make_cases(torch.float32, torch.device("cpu")) if c.name == name]
    logits, rows, temperature, typical_p = case.flow
    if not len(rows) or logits.shape[1] == 1:
        return
    scaled = logits[rows].double() / temperature.double()[:, None]
    near, order = distances(scaled).sort(-1)
    mass = scaled.softmax(-1).gather(1, order).cumsum(-1)
    for row, share in enumerate(typical_p.double()):
        if share < 1:
            assert (mass[row] - share).abs().min() > 1e-6
            last = int((mass[row] < share).sum())
            if near[row, last + 1].isfinite() and not math.isclose(near[row, last + 1], near[row, last], rel_tol=1e-12):
                assert near[row, last + 1] - near[row, last] > 1e-5 * max(1.0, float(near[row, last]))
