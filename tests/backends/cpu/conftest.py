"""What the tests of the CPU kernels share: a binder for each dtype, and a skip where nothing can be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from rustinfer.backends.cpu import set_threads
from rustinfer.backends.cpu.library import missing
from rustinfer.registry import Binder, Policy, Target, load_plugins

Bind = Callable[[torch.dtype], Binder]
MOST = 1024
"""Rows of a call here. Bound for any number of rows, products leave those of bfloat16 to AMX where the CPU has it."""


@pytest.fixture(scope="session")
def bind() -> Bind:
    """A binder that takes nothing but the CPU kernels."""
    if reason := missing():
        pytest.skip(reason)
    registry = load_plugins().registry
    pins = Policy(pins=dict.fromkeys(registry.backends["cpu"].kernels, "cpu"))
    return lambda dtype: Binder(registry, replace(Target.of("cpu", dtype), rows=MOST), pins)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """On any machine, and here alone: the tests that come after have as many as before."""
    before = torch.get_num_threads()
    set_threads(2)
    yield
    set_threads(before)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes that the kernels compute in."""
    chosen: torch.dtype = request.param
    return chosen
