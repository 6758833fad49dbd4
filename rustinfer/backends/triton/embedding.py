"""Token embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import ops
from ...registry import Target, Weight
from ...registry.op import Function
from .backend import triton
from .launch import pdl, power
from .matrix import Matrix, readable


@triton.kernel(ops.embedding, build=True, when=readable, batch_invariant=True)
def embedding(target: Target, *, weight: Weight) -> Function:
    """Gather rows, dequantised in registers."""
    from .kernels.embedding import embedding_kernel

    matrix, width = Matrix.of(weight), weight.shape[1]
    block = min(power(width), 2048)
    config = {"FORMAT": matrix.format, "GROUP": matrix.group, "ZEROS": matrix.has_zeros, "BLOCK": block, **pdl(target)}

    def call(tokens: Tensor) -> Tensor:
        out = torch.empty((len(tokens), width), dtype=weight.dtype, device=tokens.device)
        if len(tokens):
            embedding_kernel[(len(tokens), -(-width // block))](tokens, *matrix.parts, out, WIDTH=width, **config)
        return out

    return call
