"""A product in shares of its columns, whose sums the kernel behind it adds up with what it does anyway."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import Target
from .choice import choices, choose
from .contest import Behind
from .lt import WORKSPACE, LtError, Product
from .timed import Call, usable

log = logging.getLogger(__name__)
SHARES = 2  # four gain less: docs/notes/gpu-engine.md


def in_shares(target: Target, weight: Tensor, bias: Tensor | None, apart: Behind, added: Behind) -> Call | None:
    """x [T, K] -> sums [SHARES, T, N] in fp32, without the bias, T being the target's rows; by a library.

    None where the whole product with `apart` behind it takes no longer than the sums and `added`.
    """
    if target.rows is None or not usable(target, weight):
        return None
    try:
        whole = Product(target.rows, weight, weight.dtype, bias)
        product = Product(target.rows, weight, torch.float32, shares=SHARES)
        best = choose(whole, lambda x, weight: F.linear(x, weight, bias), choices())
        device, sizes = weight.device, (target.rows, len(weight))
        space = target.workspace.scratch(device, "cublas", WORKSPACE, torch.uint8)

        def rival(x: Tensor, weight: Tensor) -> None:
            if best is None:
                out = F.linear(x, weight, bias)
            else:
                whole.run(best, x, out := torch.empty(sizes, dtype=x.dtype, device=device), space, weight)
            apart(out)

        algorithm = choose(product, rival, choices(), added)
    except (LtError, OSError, AttributeError, torch.OutOfMemoryError) as error:
        log.warning("matrix products are not made in shares: %s", error)
        return None
    if algorithm is None:
        return None

    def call(x: Tensor) -> Tensor:
        sums = target.workspace.scratch(device, "sums", SHARES * sizes[0] * sizes[1]).view(SHARES, *sizes)
        space = target.workspace.scratch(device, "cublas", WORKSPACE, torch.uint8)
        product.run(algorithm, x, sums, space)
        return sums

    return call
