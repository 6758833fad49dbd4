"""The fastest of the algorithms offered for a product: all in turns, with weights that are not in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from .lt import WORKSPACE, Algorithm, LtError, Product
from .race import Record, raced

Rival = Callable[[Tensor, Tensor], object]  # torch's own product of x and a weight
GLANCES = 2  # a first look at all
NEAR = 1.06  # of the fastest's time then: what takes longer is not looked at again
ROUNDS = 11
COLD = 160 << 20  # bytes that pass until a weight is used again: in a step it comes from memory, not from the cache
MOST = 1024  # copies: a model of weights so small that more are wanted is in the cache in a step, too


@torch.inference_mode()
def fastest(product: Product, rival: Rival) -> Algorithm | None:
    """Time all that is offered in turns, torch's own product among them."""
    offers: list[Algorithm | None] = [None, *product.offers()]
    chosen = offers[winner(contest(product, rival, offers))]
    torch.cuda.empty_cache()  # what torch's own graph wrote to is kept for it else
    return chosen


def contest(product: Product, rival: Rival, offers: Sequence[Algorithm | None]) -> dict[int, Record]:
    """Graphs by the place of an offer, None being torch's own; each of all the weights that `cold` gives."""
    weight = product.weight
    x = torch.randn(product.rows, weight.shape[1], device=weight.device).to(weight.dtype)
    out = torch.empty(product.rows, weight.shape[0], dtype=product.out_dtype, device=weight.device)
    space = torch.empty(WORKSPACE, dtype=torch.uint8, device=weight.device)
    weights, records = cold(weight, out.nbytes), {}

    def run(algorithm: Algorithm, weight: Tensor) -> None:
        product.run(algorithm, x, out, space, weight)

    for place, algorithm in enumerate(offers):
        once = partial(rival, x) if algorithm is None else partial(run, algorithm)
        try:
            records[place] = Record([partial(once, weight) for weight in weights])
        except LtError:  # offered, and refused when it is run
            continue
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
