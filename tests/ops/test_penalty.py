from __future__ import annotations

import pytest
import torch

from rustinfer import ops


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
    logits = torch.randn(2, vocab)
    pad = [torch.tensor([row + [vocab] * (4 - len(row)) for row in rows]) for rows in (prompts, outputs)]
    got = ops.penalize(logits, *pad, *(torch.tensor([value] * 2) for value in (p, f, r)))
    for row in range(2):
        expected = by_hand(logits[row].tolist(), prompts[row], outputs[row], p, f, r)
        assert got[row].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_masked_tokens_stay_masked() -> None:
    logits = torch.full((1, 4), -torch.inf)
    tokens, one = torch.tensor([[0, 1, 4]]), torch.tensor([1.5])
    assert torch.equal(ops.penalize(logits, tokens, tokens, one, one, one), logits)
