"""Add and norm behind a product in shares: what it refuses, and which way a call goes. Interpreted elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="triton is not installed: pip install 'rustinfer[cuda]'")

from rustinfer import ops
from rustinfer.backends.cublas.shares import SHARES
from rustinfer.backends.triton import summed
from rustinfer.backends.triton import triton as backend
from rustinfer.registry import INT8, PackedWeight, Target

from .compiled import compiled

TARGET = Target(torch.device("cuda"), torch.bfloat16, sm=(9, 0)).decoding(96)
WEIGHT, NORM = torch.empty(256, 512, dtype=torch.bfloat16), torch.empty(256, dtype=torch.bfloat16)
PACKED = PackedWeight(INT8, torch.empty(256, 512, dtype=torch.int8), NORM, None, 512, WEIGHT.shape, torch.bfloat16)


@pytest.mark.parametrize(
    ("target", "weight", "words"),
    [
        (TARGET, WEIGHT, None),
        (TARGET.decoding(65), WEIGHT, None),
        (TARGET.decoding(64), WEIGHT, "pays for 65 to 256 rows"),
        (TARGET.decoding(257), WEIGHT, "pays for 65 to 256 rows"),
        (Target(torch.device("cuda"), torch.bfloat16, sm=(9, 0)), WEIGHT, "pays for 65 to 256 rows"),
        (TARGET, WEIGHT[:, :448].contiguous(), "a multiple of 128"),
        (TARGET, WEIGHT.float(), "16-bit weights"),
        (TARGET, PACKED, "dense weights only"),
        (Target(torch.device("cuda"), torch.bfloat16, sm=(9, 0), rows=96, invariant=True), WEIGHT, "rows"),
    ],
)
def test_what_is_no_product_in_shares_is_refused_in_words(
    target: Target, weight: Tensor | PackedWeight, words: str | None
) -> None:
    bound = ops.linear_add_rms_norm.complete({"weight": weight, "norm": NORM, "eps": 1e-5})
    told = backend.kernels["linear_add_rms_norm"].refusal(target, bound)
    assert (told is None) == (words is None)
    assert not words or words in str(told)


@pytest.mark.parametrize(("rows", "chosen", "shares"), [(96, True, SHARES), (96, False, 1), (90, True, 1)])
def test_sums_go_to_the_norm_where_shares_were_chosen_and_all_rows_are_there(
    rows: int, chosen: bool, shares: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_shares(*rest: object) -> object:
        return (lambda x: torch.empty(SHARES, len(x), 256)) if chosen else None

    monkeypatch.setattr(summed, "in_shares", in_shares)
    call = backend.kernels["linear_add_rms_norm"].build(TARGET, weight=WEIGHT, bias=NORM, norm=NORM, eps=1e-5)
    x, residual = torch.empty(rows, 512, dtype=torch.bfloat16), torch.empty(rows, 256, dtype=torch.bfloat16)
    (made,) = compiled(lambda: call(x, residual))
    assert made.metadata.name == "rms_norm_kernel"
    assert made.asm["ttir"].count("tt.load") == {SHARES: 5, 1: 3}[shares]  # norm, residual, bias and each share
