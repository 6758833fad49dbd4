"""Attention where the kernels cut work into parts: long contexts, wide groups, batches of both kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rustinfer.ops import attention
from rustinfer.ops.attention_cases import Batch
from rustinfer.registry import Binder, Policy, Target, load_plugins

from .conftest import Bind

CPU = torch.device("cpu")
BATCHES = (
    Batch("one row, many parts", (1,), (2000,), heads=2, kv_heads=1),
    Batch("parts inside a window", (1,), (2000,), heads=2, kv_heads=1, window=700),
    Batch("two rows of one sequence", (2,), (900,), heads=9, kv_heads=3),
    Batch("blocks of one token", (9,), (80,), heads=128, kv_heads=1, dim=16),
    Batch("many blocks behind a window", (200,), (1100,), heads=4, kv_heads=4, window=130),
    Batch("rows of several passes", (1,) * 5, (1500, 700, 513, 512, 17), heads=10, kv_heads=2, dim=64),
    Batch("passes behind a window", (1,) * 5, (1500, 900, 700, 513, 3), heads=8, kv_heads=8, dim=128, window=601),
    Batch("passes of uncommon numbers", (1,) * 5, (1100, 600, 530, 512, 16), heads=12, kv_heads=4, dim=96),
    Batch("everything", (1, 130, 2, 0, 3), (513, 130, 64, 0, 259), heads=6, kv_heads=2, dim=80),
)


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: batch.name)
def test_against_float64(bind: Bind, dtype: torch.dtype, batch: Batch) -> None:
    case = batch.case(dtype, CPU)
    got = bind(dtype).attention(**case.bound)(*case.flow)
    want = attention(*(x.double() if x.is_floating_point() else x for x in case.flow), **case.bound)
    limit = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8}[dtype]
    assert ((got.double() - want).abs() / (want.abs() + 0.1)).max() < limit


def test_padding_and_rows_of_no_sequence_are_zero(bind: Bind, dtype: torch.dtype) -> None:
    q, *rest = Batch("surplus", (2, 1), (30, 0)).case(dtype, CPU).flow
    surplus = torch.cat((q, q))
    got = bind(dtype).attention(scale=1.0)(surplus, *rest)
    assert got[:2].any()
    assert not got[2:].any()


def test_strided_caches_are_refused(bind: Bind) -> None:
    q, k, v, *rest = Batch("strided", (1,), (9,)).case(torch.float32, CPU).flow
    with pytest.raises(ValueError, match="contiguous"):
        bind(torch.float32).attention(scale=1.0)(q, k.transpose(1, 2), v, *rest)


def test_what_lies_past_the_end_need_not_be_a_number(bind: Bind, dtype: torch.dtype) -> None:
    q, k, v, starts, lengths, pages = Batch("past", (1, 1), (37, 5), heads=6, kv_heads=2, dim=64).case(dtype, CPU).flow
    call = bind(dtype).attention(scale=0.125)
    want = call(q, k, v, starts, lengths, pages)
    size = k.shape[2]
    known = {(int(pages[s, at // size]), at % size) for s, end in enumerate(lengths.tolist()) for at in range(end)}
    for page in range(k.shape[0]):
        for offset in range(size):
            if (page, offset) not in known:
                k[page, :, offset] = v[page, :, offset] = torch.nan
    assert torch.equal(call(q, k, v, starts, lengths, pages), want)


def test_long_contexts_are_cut_without_regard_to_others_where_that_is_asked(dtype: torch.dtype) -> None:
    batch = Batch("alone", (1,) * 12, (900, 1300, *range(600, 610)), heads=9, kv_heads=3, dim=64)
    q, k, v, starts, lengths, pages = batch.case(dtype, CPU).flow
    target = replace(Target.of("cpu", dtype).decoding(64), invariant=True)
    call = Binder(load_plugins().registry, target, Policy(pins={"attention": "cpu"})).attention(scale=0.125)
    together = call(q, k, v, starts, lengths, pages)
    for row in range(12):
        single = call(q[row : row + 1], k, v, starts[:2], lengths[row : row + 1], pages[row : row + 1])
        assert torch.equal(single[0], together[row])
