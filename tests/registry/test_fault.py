"""Kernels that say that they gave up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Backend, Faults, KernelFault, Requires

from .toys import binder, scale


class Stuck:
    """A kernel that gives up when it is told to."""

    words: str | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return x

    def fault(self) -> str | None:
        return self.words


def test_whoever_gave_up_is_named_with_op_site_plugin_and_target() -> None:
    acme, stuck = Backend("acme", requires=Requires("cpu")), Stuck()

    @acme.kernel(scale, build=True)
    def kernel(target: Any, *, weight: Tensor, bias: float = 0.0) -> Stuck:
        return stuck

    ops = binder(acme, prefer=("acme",), wrap=lambda binding: lambda x: x)  # a wrapped kernel is asked all the same
    ops.site = "layers.3"
    ops.scale(weight=torch.ones(2))
    faults = Faults(ops.bindings, ops.registry)
    faults.check()
    stuck.words = "nobody came (4 rows)"
    with pytest.raises(KernelFault) as told:
        faults.check()
    assert str(told.value) == (
        "scale at layers.3, by back end acme of plugin toys for cpu in float32: nobody came (4 rows)"
    )


def test_kernels_that_cannot_give_up_are_not_asked() -> None:
    ops = binder()
    ops.scale(weight=torch.ones(2))
    assert not Faults(ops.bindings, ops.registry)
