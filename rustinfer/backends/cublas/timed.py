"""Products by the algorithm that was fastest here, for the numbers of rows that steps in graphs have."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...registry import Target
from .choice import choices, choose
from .contest import fastest
from .lt import ALIGNED, WORKSPACE, Algorithm, LtError, Product

log = logging.getLogger(__name__)
Plain = Callable[[Tensor, Tensor], Tensor]
Call = Callable[[Tensor], Tensor]
ROWS = (128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192)
"""Rows of the steps with prompts that have graphs; other numbers of rows are left to torch's choice."""


def timed(target: Target, weight: Tensor, out_dtype: torch.dtype, rival: Plain, bias: Tensor | None = None) -> Call:
    """`rival`, torch's own product of rows and a weight, with faster ones for some numbers of rows.

    For any other number, and where none is faster, it is `rival` itself that is called.
    """

    def plain(x: Tensor) -> Tensor:
        return rival(x, weight)

    if not usable(target, weight):
        return plain
    plans = {}
    for rows in ROWS if target.rows is None else (target.rows,):
        try:
            product = Product(rows, weight, out_dtype, bias)
            algorithm = choose(product, choices(), partial(fastest, product, rival))
        except (LtError, OSError, AttributeError, torch.OutOfMemoryError) as error:
            log.warning("matrix products keep torch's choice of algorithm: %s", error)
            return plain
        if algorithm is not None:
            plans[rows] = planned(target, product, algorithm)
    if not plans:
        return plain

    def call(x: Tensor) -> Tensor:
        plan = plans.get(len(x))
        return plan(x) if plan is not None and multipliable(x) else plain(x)

    return call


def planned(target: Target, product: Product, algorithm: Algorithm) -> Call:
    """The product by that algorithm, for exactly its number of rows."""
    outputs, device = len(product.weight), product.weight.device

    def call(x: Tensor) -> Tensor:
        out = torch.empty(product.rows, outputs, dtype=product.out_dtype, device=device)
        space = target.workspace.scratch(device, "cublas", WORKSPACE, torch.uint8)
        product.run(algorithm, x, out, space)
        return out

    return call


def on_gpu(weight: Tensor) -> bool:
    """Whether the library can reach it."""
    return weight.is_cuda


def usable(target: Target, weight: Tensor) -> bool:
    """Whether the library's own algorithms are to be had for a weight."""
    return on_gpu(weight) and weight.dtype.itemsize == 2 and suited(weight) and not target.invariant


def suited(matrix: Tensor) -> bool:
    """Whether a matrix lies in memory as the library was told."""
    return matrix.is_contiguous() and matrix.data_ptr() % ALIGNED == 0


def multipliable(x: Tensor) -> bool:
    """Whether rows are a matrix as the library was told."""
    return x.dim() == 2 and suited(x)
