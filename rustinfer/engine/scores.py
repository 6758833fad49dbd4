"""Log-probabilities of tokens, with their rank and the best alternatives."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

from torch import Tensor

from ..protocol.messages import TokenLogprob


@dataclass(frozen=True)
class Scores:
    """Of one token for each row, still on the device: its log-probability, its rank, the best values and their ids.

    `wanted` is how many alternatives each row asks for.
    """

    tensors: list[Tensor]
    wanted: Items[int]

    @classmethod
    def of(cls, logits: Tensor, tokens: Tensor, wanted: Items[int]) -> Scores:
        """Of logits [R, vocab] and tokens int64 [R]. Waits for no device; the rank is counted, so nothing is sorted."""
        scores = logits.log_softmax(-1)
        own = scores.gather(1, tokens[:, None])
        best = scores.topk(min(max(wanted), scores.shape[1]), dim=-1)
        return cls([own[:, 0], (scores > own).sum(-1) + 1, best.values, best.indices], wanted)

    def read(self, tensors: Items[Tensor]) -> list[TokenLogprob]:
        """The rows in order, from the tensors or from copies of them on the host."""
        columns = (t.tolist() for t in tensors)
        return [
            (score, list(zip(ids[:k], values[:k], strict=True)), rank)
            for score, rank, values, ids, k in zip(*columns, self.wanted, strict=True)
        ]
