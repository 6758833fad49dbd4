"""Define an op, see that its cases can tell right from wrong, and bind it.

python examples/own_op.py
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rustinfer import Binder, Case, Target, op
from rustinfer.ops.precision import wide
from rustinfer.registry import load_plugins
from rustinfer.testing import problems


@op()
def layer_norm(x: Tensor, *, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Centre each row and scale it to unit variance, in fp32; then times weight plus bias. x: [..., width]."""
    h = wide(x)
    h = h - h.mean(-1, keepdim=True)
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps)
    return (h * wide(weight) + wide(bias)).to(x.dtype)


@layer_norm.cases
def cases(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Widths from tiny to real, and rows so small that eps counts."""
    for width in (8, 33, 576):
        for magnitude in (1e-3, 1.0, 300.0):
            source = torch.Generator().manual_seed(width)
            x, weight, bias = (torch.randn(n, width, generator=source).to(device, dtype) for n in (3, 1, 1))
            bound = {"weight": weight[0], "bias": bias[0], "eps": 1e-5}
            yield Case(f"{width} wide, times {magnitude:g}", (x * magnitude,), bound)


@layer_norm.mutant("not centred")
def not_centred(x: Tensor, *, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Forgets to take the mean away from what it scales."""
    h = wide(x)
    h = h * torch.rsqrt(h.var(-1, correction=0, keepdim=True) + eps)
    return (h * wide(weight) + wide(bias)).to(x.dtype)


@layer_norm.mutant("eps dropped")
def without_eps(x: Tensor, *, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Right for all rows but small ones."""
    return layer_norm(x, weight=weight, bias=bias, eps=0.0)


@layer_norm.mutant("divides by n - 1")
def sample_variance(x: Tensor, *, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The other variance."""
    h = wide(x)
    h = (h - h.mean(-1, keepdim=True)) * torch.rsqrt(h.var(-1, keepdim=True) + eps)
    return (h * wide(weight) + wide(bias)).to(x.dtype)


def main() -> None:
    """Judge the definition, then use it."""
    print(problems(layer_norm) or "the definition is sound")
    registry = load_plugins().registry
    registry.add_op(layer_norm)
    binder = Binder(registry, Target.of("cpu", torch.float32))
    norm = binder.layer_norm(weight=torch.ones(64), bias=torch.zeros(64), eps=1e-5)
    print(f"{norm(torch.randn(2, 64)).std().item():.1f}")
    print(binder.bindings[0].why())


if __name__ == "__main__":
    main()
