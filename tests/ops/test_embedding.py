from __future__ import annotations

import torch

from rustinfer import ops
from rustinfer.ops.inputs import Draw
from rustinfer.registry import INT4

TOKENS = torch.tensor([4, 0, 4])


def test_rows_of_a_dense_weight() -> None:
    weight = torch.arange(10.0).view(5, 2).bfloat16()
    assert torch.equal(ops.embedding(TOKENS, weight=weight), weight[TOKENS])


def test_rows_of_a_packed_weight_are_those_of_the_dequantised_one() -> None:
    weight = Draw("packed", torch.bfloat16, torch.device("cpu")).packed(INT4, 5, 64, 32, zeros="free")
    rows = ops.embedding(TOKENS, weight=weight)
    assert rows.dtype == torch.bfloat16
    assert torch.equal(rows, weight.dequantise()[TOKENS])
