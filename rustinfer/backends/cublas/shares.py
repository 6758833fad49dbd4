"""A product in shares of its columns, whose sums the kernel behind it adds up with what it does anyway."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...registry import Target
from .choice import choices, choose
from .contest import fastest
from .lt import WORKSPACE, Algorithm, Product
from .timed import Call, usable

log = logging.getLogger(__name__)
Behind = Callable[[Tensor, Tensor], object]  # of a product, or of its sums, and the residual
SHARES = 2  # four gain less: docs/notes/gpu-engine.md


def in_shares(
    target: Target, weight: Tensor, bias: Tensor | None, apart: Behind, added: Behind, word: str
) -> Call | None:
    """x [T, K] -> sums [SHARES, T, N] in fp32, without the bias, T being the target's rows; by a library.

    None where the whole product with `apart` behind it takes no longer than the sums and `added`. The choice is kept
    under a `word` for these two.
    """
    if target.rows is None or not usable(target, weight):
        return None
    device, rows, sizes = weight.device, target.rows, (target.rows, len(weight))

    def contest() -> Algorithm | None:
        def linear(x: Tensor, weight: Tensor) -> Tensor:
            return F.linear(x, weight, bias)

        whole = Product(rows, weight, weight.dtype, bias)
        best = choose(whole, choices(), partial(fastest, whole, linear))
        space = torch.empty(WORKSPACE, dtype=torch.uint8, device=device)
        residual = torch.zeros(sizes, dtype=weight.dtype, device=device)

        def rival(x: Tensor, weight: Tensor) -> None:
            if best is None:
                out = linear(x, weight)
            else:
                whole.run(best, x, out := torch.empty(sizes, dtype=x.dtype, device=device), space, weight)
            apart(out, residual)

        return fastest(product, rival, lambda sums: added(sums, residual))

    try:
        product = Product(rows, weight, torch.float32, shares=SHARES)
        algorithm = choose(product, choices(), contest, word if bias is None else f"{word} bias")
    except Exception as error:  # whatever the library or the kernels behind it say: the product can be had whole
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
