"""The default model says on the GPU what the fp32 references say on the CPU, wherever those are sure."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.default_model import compared, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.model,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
SURE = 0.3
"""Nats between the two likeliest tokens: more than bfloat16 moves a log-probability by."""


def test_fifty_prompts() -> None:
    found = compared(reference())
    assert found["largest error"] < SURE
    assert found["largest margin among them"] < SURE
    assert found["largest margin at a first difference"] < SURE
    assert found["positions with a larger margin"] > 800
