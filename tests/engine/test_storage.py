"""The cache's memory."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from rustinfer.engine.storage import allocate, bytes_per_token
from rustinfer.models import CacheSpec
from rustinfer.registry import Target


def anonymous_mib() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def test_cache_memory_is_zero_aligned_and_taken_only_when_written() -> None:
    spec, target = CacheSpec(4, 8, 64), Target(torch.device("cpu"), torch.bfloat16)
    assert bytes_per_token(spec, torch.bfloat16) == 2 * 4 * 8 * 64 * 2
    before = anonymous_mib()
    cache = allocate(spec, (256 << 20) // (16 * bytes_per_token(spec, torch.bfloat16)), 16, target)
    assert anonymous_mib() - before < 32
    assert len(cache) == 4
    for pair in cache:
        for tensor in pair:
            assert tensor.shape[1:] == (8, 16, 64)
            assert tensor.is_contiguous()
            assert tensor.data_ptr() % 64 == 0
            assert not tensor[::97].any()
    assert len({tensor.data_ptr() for pair in cache for tensor in pair}) == 8
