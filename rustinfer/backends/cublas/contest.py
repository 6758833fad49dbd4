"""The fastest of the algorithms offered for a product: all in turns, with weights that are not in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from .lt import WORKSPACE, Algorithm, LtError, Product
from .race import Record, raced

Rival = Callable[[Tensor, Tensor], object]  # of x and a weight: torch's own product, or another that serves as well
Behind = Callable[[Tensor], object]  # what is done with each product
GLANCES = 2  # a first look at all
NEAR = 1.06  # of the fastest's time then: what takes longer is not looked at again
ROUNDS = 11
COLD = 160 << 20  # bytes that pass until a weight is used again: in a step it comes from memory, not from the cache
MOST = 1024  # copies: a model of weights so small that more are wanted is in the cache in a step, too


def nothing(product: Tensor) -> None:
    """Nobody does anything with it."""


@torch.inference_mode()
def fastest(product: Product, rival: Rival, behind: Behind = nothing) -> Algorithm | None:
    """Time all that is offered in turns, each with what is done `behind` it, and the rival as it is."""
    offers: list[Algorithm | None] = [None, *product.offers()]
    chosen = offers[winner(contest(product, rival, offers, behind))]
    torch.cuda.empty_cache()  # what torch's own graph wrote to is kept for it else
    return chosen


def contest(
    product: Product, rival: Rival, offers: Sequence[Algorithm | None], behind: Behind = nothing
) -> dict[int, Record]:
    """Graphs by the place of an offer, None being the rival; each of all the weights that `cold` gives."""
    weight = product.weight
    x = torch.randn(product.rows, weight.shape[1], device=weight.device).to(weight.dtype)
    sizes = (product.shares,) * (product.shares > 1) + (product.rows, len(weight))
    out = torch.empty(sizes, dtype=product.out_dtype, device=weight.device)
    space = torch.empty(WORKSPACE, dtype=torch.uint8, device=weight.device)
    weights, records = cold(weight, out.nbytes), {}

    def run(algorithm: Algorithm, weight: Tensor) -> None:
        product.run(algorithm, x, out, space, weight)
        behind(out)

    for place, algorithm in enumerate(offers):
        once = partial(rival, x) if algorithm is None else partial(run, algorithm)
        try:
            records[place] = Record([partial(once, weight) for weight in weights])
        except LtError:  # offered, and refused when it is run
            if algorithm is None:
                raise
    return records


def cold(weight: Tensor, beside: int) -> list[Tensor]:
    """The weight and copies of it, so many that each has left the cache when its turn comes again, or MOST.

    `beside` are the bytes that are written meanwhile.
    """
    count = min(-(-COLD // (weight.nbytes + beside)), MOST)
    return [weight, *(weight.clone() for _ in range(count - 1))]


def winner(records: Mapping[int, Record]) -> int:
    """The fastest. One counts as faster than those before it if most of its times are under most of theirs."""
    first = raced(records, GLANCES)
    near = NEAR * min(took[0] for took in first.values())
    times = raced({key: record for key, record in records.items() if key == 0 or first[key][0] <= near}, ROUNDS)
    best = 0
    for key, took in times.items():
        if took[3 * ROUNDS // 4] < times[best][ROUNDS // 4]:
            best = key
    return best
