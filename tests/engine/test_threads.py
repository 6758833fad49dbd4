from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rustinfer.engine.sampler import Sampler
from rustinfer.engine.threads import SMALL, few
from rustinfer.registry import Binder, Target

from .test_distributions import sequences
from .tiny import plugins


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_work_has_one_thread_and_large_work_all() -> None:
    with few(torch.zeros(4, 1000)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with few(torch.zeros(1).expand(SMALL + 1)):
        assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="wrong"), few(torch.zeros(1)):
        raise ValueError("wrong")
    assert torch.get_num_threads() == 2


def test_the_sampler_waits_for_no_thread_of_torchs() -> None:
    sampler, seen = Sampler(Binder(plugins().registry, Target.of("cpu", torch.float32)), 12), []
    bias = sampler.adjust.bias
    sampler.adjust.bias = lambda *flow: seen.append(torch.get_num_threads()) or bias(*flow)
    sampler(torch.zeros(2, 12), sequences({"logit_bias": {1: 1.0}}, 2))
    assert seen == [1]
    assert torch.get_num_threads() == 2
