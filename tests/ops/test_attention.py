from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer import ops


def paged(keys: Tensor, size: int, order: list[int]) -> tuple[Tensor, Tensor]:
    """Keys [length, G, D] laid into pages in the given order, and the page table."""
    length, heads, dim = keys.shape
    cache = torch.full((len(order) + 1, heads, size, dim), 99.0)
    for position in range(length):
        cache[order[position // size], :, position % size] = keys[position]
    return cache, torch.tensor([order], dtype=torch.int32)


def attend(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0, size: int = 4) -> Tensor:
    """One sequence through the op, its pages scattered."""
    order = torch.randperm(-(-len(k) // size)).tolist()
    (k_cache, pages), (v_cache, _) = paged(k, size, order), paged(v, size, order)
    starts, lengths = torch.tensor([0, len(q)], dtype=torch.int32), torch.tensor([len(k)], dtype=torch.int32)
    out: Tensor = ops.attention(q, k_cache, v_cache, starts, lengths, pages, scale=0.3, window=window)
    return out


def expected(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0) -> Tensor:
    """The same by torch's own attention."""
    at, seen = torch.arange(len(k) - len(q), len(k))[:, None], torch.arange(len(k))
    mask = (seen <= at) & (seen > at - (window or len(k)))
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3, enable_gqa=True)[0].transpose(0, 1)


@pytest.mark.parametrize("rows", [1, 5, 21])
@pytest.mark.parametrize("window", [0, 1, 6, 100])
def test_agrees_with_torch(rows: int, window: int) -> None:
    q, k, v = torch.randn(rows, 6, 8), torch.randn(21, 2, 8), torch.randn(21, 2, 8)
    torch.testing.assert_close(attend(q, k, v, window=window), expected(q, k, v, window=window))


def test_chunks_give_what_the_whole_gives() -> None:
    q, k, v = torch.randn(19, 4, 8), torch.randn(19, 4, 8), torch.randn(19, 4, 8)
    chunks = [attend(q[a:b], k[:b], v[:b]) for a, b in ((0, 7), (7, 16), (16, 17), (17, 19))]
    torch.testing.assert_close(torch.cat(chunks), attend(q, k, v))


def test_padding_sequences_give_zeros_and_disturb_nobody() -> None:
    q, k, v = torch.randn(3, 2, 8), torch.randn(4, 2, 8), torch.randn(4, 2, 8)
    (k_cache, pages), (v_cache, _) = paged(k, 4, [0]), paged(v, 4, [0])
    starts, lengths = torch.tensor([0, 1, 2, 3]).int(), torch.tensor([0, 4, 0]).int()
    out = ops.attention(q, k_cache, v_cache, starts, lengths, pages.expand(3, 1), scale=0.3)
    assert not out[0].any()
    assert not out[2].any()
    torch.testing.assert_close(out[1:2], expected(q[1:2], k, v))


def test_one_position_gives_its_value() -> None:
    q, k, v = torch.randn(1, 4, 8), torch.randn(1, 2, 8), torch.randn(1, 2, 8)
    torch.testing.assert_close(attend(q, k, v), v.repeat_interleave(2, 1))
