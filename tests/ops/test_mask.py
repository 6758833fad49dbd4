from __future__ import annotations

import torch

from rustinfer import ops


def bits(*tokens: int, words: int = 2) -> torch.Tensor:
    """A bitmask's row with these tokens allowed."""
    row = [0] * words
    for token in tokens:
        row[token // 32] |= 1 << token % 32
    return torch.tensor([word - 2**32 if word >= 2**31 else word for word in row], dtype=torch.int32)


def test_only_the_named_row_and_only_forbidden_tokens() -> None:
    logits = torch.arange(120.0).view(3, 40)
    before = logits.clone()
    ops.mask_logits(logits, torch.tensor([1]), bits(0, 31, 32, 39)[None])
    assert torch.equal(logits[[0, 2]], before[[0, 2]])
    kept = logits[1].isfinite()
    assert kept.nonzero().flatten().tolist() == [0, 31, 32, 39]
    assert torch.equal(logits[1, kept], before[1, kept])


def test_biases_add_up_with_the_logits() -> None:
    logits = torch.zeros(2, 5)
    ops.bias_logits(logits, torch.tensor([0, 1, 1]), torch.tensor([4, 4, 0]), torch.tensor([1.5, -2.0, 7.0]))
    assert logits.tolist() == [[0, 0, 0, 0, 1.5], [7, 0, 0, 0, -2]]
