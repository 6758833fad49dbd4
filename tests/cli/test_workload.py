from __future__ import annotations

import math
from collections import Counter

import pytest

from rustinfer.cli.workload import GROUPS, LONG, WORKLOADS, arrivals, asks


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_same_seed_makes_the_same_load(kind: str) -> None:
    load = asks(kind, 24, 40, 7, seed=1)
    assert load == asks(kind, 24, 40, 7, seed=1)
    assert load != asks(kind, 24, 40, 7, seed=2)
    assert {ask.tokens for ask in load} == {7}
    assert len({ask.prompt for ask in load}) == 24


def test_lengths_are_those_that_were_asked_for() -> None:
    def lengths(kind: str) -> Counter[int]:
        return Counter(len(ask.prompt.split()) for ask in asks(kind, 24, 40, 1, seed=0))

    assert lengths("random") == {40: 24}
    assert lengths("shared-prefix") == {40: 24}
    assert lengths("long-prompt") == {40: 21, 40 * LONG: 3}
    assert lengths("mixed") == {40: 23, 40 * LONG: 1}


def test_prefixes_are_shared_in_groups_and_the_rest_is_not() -> None:
    prompts = [ask.prompt.split() for ask in asks("shared-prefix", 24, 40, 1, seed=0)]
    assert Counter(tuple(p[:30]) for p in prompts).most_common()[0][1] == 24 // GROUPS
    assert len({tuple(p[30:]) for p in prompts}) == 24


def test_arrivals_are_a_poisson_process() -> None:
    times = arrivals(4000, 5.0, seed=3)
    assert times == arrivals(4000, 5.0, seed=3)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(0.2, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.05)  # as of an exponential distribution, and of few others
