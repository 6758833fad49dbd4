"""The cache's memory."""

from __future__ import annotations

import subprocess
import sys

import torch

from rustinfer.engine.storage import allocate, bytes_per_token
from rustinfer.models import CacheSpec
from rustinfer.registry import Target

SPEC, TARGET = CacheSpec(4, 8, 64), Target(torch.device("cpu"), torch.bfloat16)
# In a process of its own: what other tests leave behind comes and goes at any time.
TAKEN = """
import re, torch
from pathlib import Path
from rustinfer.engine.storage import allocate
from rustinfer.models import CacheSpec
from rustinfer.registry import Target

def anonymous_mib():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

before = anonymous_mib()
cache = allocate(CacheSpec(4, 8, 64), 2048, 16, Target(torch.device("cpu"), torch.bfloat16))
unwritten = anonymous_mib() - before
for pair in cache:
    for tensor in pair:
        tensor.fill_(1)
print(unwritten, anonymous_mib() - before)
"""


def test_cache_memory_is_taken_only_when_written() -> None:
    unwritten, written = subprocess.check_output([sys.executable, "-c", TAKEN], text=True).split()
    assert int(unwritten) < 32
    assert int(written) >= 256


def test_cache_memory_is_zero_and_aligned() -> None:
    assert bytes_per_token(SPEC, torch.bfloat16) == 2 * 4 * 8 * 64 * 2
    cache = allocate(SPEC, 100, 16, TARGET)
    assert len(cache) == 4
    for pair in cache:
        for tensor in pair:
            assert tensor.shape[1:] == (8, 16, 64)
            assert tensor.is_contiguous()
            assert tensor.data_ptr() % 64 == 0
            assert not tensor[::97].any()
    assert len({tensor.data_ptr() for pair in cache for tensor in pair}) == 8
