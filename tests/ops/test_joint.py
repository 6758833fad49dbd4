"""Which parts the ops with a norm between two products have, by who has what and what was ordered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.registry import Backend, Binder, Policy, Registry, Requires, Target

CPU = Target(torch.device("cpu"), torch.float32)
APART = ["linear", "norm_gate_up_silu"]
TOGETHER = ["linear_add_rms_norm", "linear", "gate_up_silu"]  # whose linear is the second product's


def backend(name: str, *has: str) -> Backend:
    """A back end whose kernels are the definitions."""
    made = Backend(name, requires=Requires("cpu"))
    for op in has:
        made.kernel(getattr(ops, op))(getattr(ops, op).reference)
    return made


@pytest.mark.parametrize(
    ("has", "policy", "parts"),
    [
        ((), {}, APART),
        (("linear_add_rms_norm",), {"prefer": ("acme",)}, TOGETHER),
        (("linear_add_rms_norm",), {"pins": {"linear_add_rms_norm": "acme"}}, TOGETHER),
        (("linear_add_rms_norm",), {"prefer": ("acme",), "pins": {"norm_gate_up_silu": "cpu"}}, APART),
        (("linear_add_rms_norm", "norm_gate_up_silu"), {"prefer": ("acme",)}, TOGETHER),
        (("norm_gate_up_silu",), {"prefer": ("acme",)}, APART),
    ],
)
def test_the_norm_goes_with_the_first_product_where_somebody_has_them_as_one(
    has: tuple[str, ...], policy: dict[str, Any], parts: list[str]
) -> None:
    made = Registry()
    made.add(list(ops.rustinfer_ops()), [backend("cpu", "norm_gate_up_silu"), backend("acme", *has)], {}, "test")
    binder = Binder(made, CPU, Policy(**policy))
    first, weight, norm = torch.randn(16, 8), torch.randn(24, 16), torch.rand(16)
    bound = {"first": first, "norm": norm, "eps": 1e-5, "weight": weight}
    call = binder.linear_norm_gate_up_silu(**bound)
    assert [b.op.name for b in binder.bindings if b.op.name in {*APART, *TOGETHER}] == parts
    x, residual = torch.randn(3, 8), torch.randn(3, 16)
    said: tuple[Tensor, Tensor] = call(x, residual)
    for got, want in zip(said, ops.linear_norm_gate_up_silu.reference(x, residual, **bound), strict=True):
        torch.testing.assert_close(got, want)
