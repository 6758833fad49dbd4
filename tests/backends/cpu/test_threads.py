from __future__ import annotations

import pytest
import torch

from rustinfer.backends.cpu.library import library, missing


def test_kernels_run_on_as_many_threads_as_torch() -> None:
    if reason := missing():
        pytest.skip(reason)
    before = torch.get_num_threads()
    try:
        for count in (3, 1):
            torch.set_num_threads(count)
            assert library().ri_threads() == count
    finally:
        torch.set_num_threads(before)
        library()
