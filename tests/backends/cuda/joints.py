"""Our first product, emulated, in front of Triton's second, interpreted: how far both ops are from their definitions.

Runs under TRITON_INTERPRET=1; prints the relative distances as a JSON list.
"""

from __future__ import annotations

import json
from unittest import mock

import torch

from rustinfer import ops
from rustinfer.backends.cuda import cuda, few
from rustinfer.backends.cuda.few import gated_refusal, rotated_refusal
from rustinfer.backends.triton import launch
from rustinfer.ops.fused_cases import Rows, projection
from rustinfer.registry import Op, Target
from rustinfer.testing.values import tensors

from . import grids

CPU = torch.device("cpu")
ROWS, WIDTH = Rows(40, 256), 192


def far(op: Op, flow: tuple[torch.Tensor, ...], bound: dict[str, object]) -> list[float]:
    """Relative distances of outputs and caches."""
    target = Target(CPU, torch.bfloat16, (9, 0), 40, decode=True)
    full = op.complete(bound)
    refused = gated_refusal if op is ops.linear_norm_gate_up_silu else rotated_refusal
    assert refused(full | {"target": target}), "the second product is to be Triton's"
    assert not cuda.kernels[op.name].when(full | {"target": target})
    exact = [part.double() if part.is_floating_point() else part for part in flow]
    wide = {name: part.double() if isinstance(part, torch.Tensor) else part for name, part in full.items()}
    want = op.reference(*exact, **wide)
    got = cuda.kernels[op.name].build(target, **full)(*flow)
    pairs = zip(tensors((got, *flow), ""), tensors((want, *exact), ""), strict=True)
    return [float((ours.double() - theirs).norm() / theirs.double().norm()) for (_, ours), (_, theirs) in pairs]


def main() -> list[float]:
    """Of both ops."""
    d = ROWS.draw(torch.bfloat16, CPU)
    bound = {"first": d.weight(WIDTH, ROWS.width), "norm": d.uniform(WIDTH, low=0.5, high=1.5), "eps": 1e-5}
    flow = (ROWS.x(d), d.normal(ROWS.rows, WIDTH))
    said = far(ops.linear_norm_gate_up_silu, flow, bound | {"weight": d.weight(2 * 1600, WIDTH)})
    rest, more = projection(d, Rows(ROWS.rows, WIDTH), 40, 5, 64)
    return said + far(ops.linear_norm_qkv_rope_write, (*flow, *rest), {**bound, **more})


if __name__ == "__main__":
    with (
        mock.patch.object(few, "loaded", grids.loaded),
        mock.patch.object(few, "tensor_map", grids.tensor_map),
        mock.patch.object(launch, "PROGRAMMATIC", False),
    ):
        print(json.dumps(main()))
