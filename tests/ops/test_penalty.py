from __future__ import annotations

import pytest
import torch

from rustinfer import ops
from rustinfer.ops.penalty import PROMPT


def by_hand(logits: list[float], prompt: list[int], output: list[int], p: float, f: float, r: float) -> list[float]:
    """Hugging Face's repetition penalty, then OpenAI's two, one token at a time."""
    result = []
    for token, logit in enumerate(logits):
        seen, count = token in prompt or token in output, output.count(token)
        repeated = (logit / r if logit > 0 else logit * r) if seen else logit
        result.append(repeated - f * count - p * (count > 0))
    return result


@pytest.mark.parametrize(("p", "f", "r"), [(0.0, 0.0, 1.0), (0.5, 0.0, 1.0), (0.0, 0.3, 1.0), (-1.0, 0.2, 1.7)])
def test_agrees_with_the_formulas(p: float, f: float, r: float) -> None:
    vocab, prompts, outputs = 9, ([1, 1, 4], [8, 8]), ([4, 0, 0], [5])
    logits, counts = torch.randn(3, vocab), torch.zeros(4, vocab, dtype=torch.int32)
    rows, lanes = [2, 0], [1, 3]
    for lane, prompt, output in zip(lanes, prompts, outputs, strict=True):
        for token in {*prompt}:
            counts[lane, token] += PROMPT
        for token in output:
            counts[lane, token] += 1
    got = logits.clone()
    factors = (torch.tensor([value] * 2) for value in (p, f, r))
    ops.penalize(got, torch.tensor(rows), counts, torch.tensor(lanes), *factors)
    for row, prompt, output in zip(rows, prompts, outputs, strict=True):
        expected = by_hand(logits[row].tolist(), prompt, output, p, f, r)
        assert got[row].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert torch.equal(got[1], logits[1])


def test_masked_tokens_stay_masked() -> None:
    logits, one = torch.full((1, 4), -torch.inf), torch.tensor([1.5])
    counts = torch.tensor([[PROMPT, 2, PROMPT + 1, 0]], dtype=torch.int32)
    ops.penalize(logits, torch.tensor([0]), counts, torch.tensor([0]), one, one, one)
    assert torch.equal(logits, torch.full((1, 4), -torch.inf))
