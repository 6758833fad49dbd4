from __future__ import annotations

import torch

from rustinfer import ops


def test_rows_land_in_their_slots_and_nowhere_else() -> None:
    k, v = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    k_cache, v_cache = torch.zeros(3, 2, 5, 4), torch.zeros(3, 2, 5, 4)
    assert ops.write_kv(k, v, k_cache, v_cache, torch.tensor([14, -1, 5])) is None
    for cache, rows in ((k_cache, k), (v_cache, v)):
        assert torch.equal(cache[2, :, 4], rows[0])
        assert torch.equal(cache[1, :, 0], rows[2])
        assert cache.count_nonzero() == rows[[0, 2]].count_nonzero()
