"""Write kernels for ops that exist, judge them as the conformance suite would, and see them chosen or refused.

python examples/own_backend.py
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rustinfer import Backend, Binder, Requires, Target, ops
from rustinfer.registry import Policy, Weight, load_plugins
from rustinfer.testing.points import points

acme = Backend("acme", requires=Requires("cpu"))


@acme.kernel(ops.rms_norm)
def rms_norm(x: Tensor, *, weight: Tensor, eps: float) -> Tensor:
    """A kernel of the op's own signature."""
    return F.rms_norm(x, weight.shape, weight, eps)


@acme.kernel(ops.linear, build=True, when=lambda b: None if isinstance(b["weight"], Tensor) else "the weight is packed")
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """A builder: it runs once, prepares the weight, and returns what the model calls."""
    assert isinstance(weight, Tensor)
    columns = weight.t().contiguous()
    return (lambda x: x @ columns) if bias is None else (lambda x: x @ columns + bias)


def main() -> None:
    """Judge every kernel on the cases of its op, then bind."""
    todo = list(points(acme))
    refused = [reason for point in todo if (reason := point.refusal())]
    failed = []
    for point in todo:
        try:
            if not point.refusal():
                point.test()
        except AssertionError as error:
            failed.append(f"{point}: {error}")
    print(f"{len(todo)} cases, {len(refused)} refused, {len(failed)} failed", *failed, sep="\n")

    registry = load_plugins().registry
    registry.add_backend(acme)
    binder = Binder(registry, Target.of("cpu", torch.float32), Policy(pins={"rms_norm": "acme", "linear": "acme"}))
    norm = binder.rms_norm(weight=torch.ones(64), eps=1e-5)
    project = binder.linear(weight=torch.randn(32, 64))
    print(project(norm(torch.randn(2, 64))).shape)
    for binding in binder.bindings:
        print(binding.why())


if __name__ == "__main__":
    main()
