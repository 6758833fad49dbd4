"""Masks agree with the definition where rows are many enough to be shared among threads."""

from __future__ import annotations

import torch

from rustinfer.ops import mask_logits

from .conftest import Bind


def test_many_rows(bind: Bind) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 49153, generator=generator)
    rows = torch.tensor([8, 0, 3, 5])
    bits = torch.randint(-(2**31), 2**31, (4, 1538), generator=generator).int()
    bits[:, ::3] = -1
    wanted = logits.clone()
    mask_logits(wanted, rows, bits)
    bind(torch.float32).mask_logits()(logits, rows, bits)
    assert torch.equal(logits, wanted)
