from __future__ import annotations

import torch

from rustinfer import ops
from rustinfer.ops.fused import split_heads
from rustinfer.ops.inputs import Draw
from rustinfer.ops.rotary import table

DRAW = Draw("fused", torch.float32, torch.device("cpu"))


def test_split_heads_cuts_queries_keys_values() -> None:
    q, k, v = split_heads(torch.arange(16.0).view(1, 16), 2, 1)
    assert (q.tolist(), k.tolist(), v.tolist()) == (
        [[[0, 1, 2, 3], [4, 5, 6, 7]]],
        [[[8, 9, 10, 11]]],
        [[[12, 13, 14, 15]]],
    )


def test_qkv_rope_write_stores_rotated_keys_and_plain_values() -> None:
    x, positions, slots = torch.randn(2, 6), torch.tensor([3, 9]), torch.tensor([7, 2])
    weight, bias, cosines = torch.randn(4 * 8, 6), torch.randn(4 * 8), table(DRAW, 16, 8)
    caches = torch.zeros(2, 1, 4, 8), torch.zeros(2, 1, 4, 8)
    rest = {"weight": weight, "bias": bias, **cosines, "heads": 2, "kv_heads": 1}
    q = ops.qkv_rope_write(x, positions, slots, *caches, **rest)
    projected = (x @ weight.T + bias).view(2, 4, 8)
    torch.testing.assert_close(q, ops.rope(projected[:, :2], positions, **cosines))
    torch.testing.assert_close(caches[0][1, 0, 3], ops.rope(projected[:, 2:3], positions, **cosines)[0, 0])
    torch.testing.assert_close(caches[1][0, 0, 2], projected[1, 3])


def test_norm_gate_up_silu_is_its_parts_in_order() -> None:
    x, residual, norm, weight = torch.randn(2, 6), torch.randn(2, 6), torch.rand(6), torch.randn(10, 6)
    hidden, total = ops.norm_gate_up_silu(x, residual, norm=norm, eps=1e-5, weight=weight)
    normed = ops.rms_norm(x + residual, weight=norm, eps=1e-5)
    assert torch.equal(total, x + residual)
    assert torch.equal(hidden, ops.silu_mul(normed @ weight.T))


def test_norm_qkv_rope_write_is_its_parts_in_order() -> None:
    x, residual, norm = torch.randn(2, 6), torch.randn(2, 6), torch.rand(6)
    flow = (torch.tensor([3, 9]), torch.tensor([7, 2]))
    rest = {"weight": torch.randn(4 * 8, 6), **table(DRAW, 16, 8), "heads": 2, "kv_heads": 1}
    ours, theirs = (tuple(torch.zeros(2, 1, 4, 8) for _ in range(2)) for _ in range(2))
    q, total = ops.norm_qkv_rope_write(x, residual, *flow, *ours, norm=norm, eps=1e-5, **rest)
    normed = ops.rms_norm(x + residual, weight=norm, eps=1e-5)
    assert torch.equal(q, ops.qkv_rope_write(normed, *flow, *theirs, **rest))
    assert torch.equal(total, x + residual)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
