"""Locally typical sampling (Meister et al. 2022): tokens about as surprising as the row is on average."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import Case, op

from .inputs import Draw, of_logits
from .mutants import wrong


@op(mutates=("logits",))
def keep_typical(logits: Tensor, rows: Tensor, temperature: Tensor, typical_p: Tensor) -> None:
    """Set to minus infinity, in the named rows, the logits of all but the most typical tokens.

    With p the softmax of logits / temperature, tokens are ordered by how far their surprisal -log p is from its mean,
    the entropy; kept are the nearest that together have at least typical_p of the mass, and those as near as the last
    of them. 1 keeps all. logits: [R, vocab] fp32, written in place; rows: [K] int64, no two alike; temperature (more
    than 0), typical_p: [K] fp32.
    """
    scaled = logits[rows] / temperature[:, None]
    logits[rows] = logits[rows].masked_fill(~typical(scaled, distances(scaled), typical_p), -torch.inf)


def distances(scaled: Tensor) -> Tensor:
    """How far each token's surprisal is from the row's entropy: [K, vocab]."""
    scores = scaled.log_softmax(-1)
    entropy = -(scores.exp() * scores).nansum(-1, keepdim=True)
    return (scores + entropy).abs()


def typical(scaled: Tensor, distance: Tensor, typical_p: Tensor) -> Tensor:
    """Which tokens are among the nearest that hold a share of typical_p: [K, vocab] bool."""
    near, order = distance.sort(-1)
    mass = scaled.softmax(-1).gather(1, order).cumsum(-1)
    last = (mass < typical_p[:, None]).sum(-1, keepdim=True).clamp(max=scaled.shape[1] - 1)
    # Rounded sums may reach 1 before the last token, so 1 itself is told apart.
    return (distance <= near.gather(1, last)) | (typical_p[:, None] >= 1)


def example(d: Draw, rows: int, vocab: int, chosen: int, *, scale: float = 2.0) -> Case:
    """Random logits; the first chosen row keeps all."""
    logits = d.normal(rows, vocab, scale=scale, dtype=torch.float32)
    temperature, typical_p = (d.uniform(chosen, low=low, high=high, dtype=torch.float32) for low, high in RANGES)
    typical_p[:1] = 1
    return Case(d.name, (logits, d.shuffled(rows)[:chosen], temperature, typical_p), decode=rows > 3)


RANGES = ((0.5, 2.0), (0.1, 0.98))


@keep_typical.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    shapes = ((4, 97, 4), (5, 1000, 3), (8, 33, 8), (3, 5, 3), (2, 1, 2), (2, 8000, 2))
    yield from of_logits(example, partial(Draw, dtype=dtype, device=device), shapes, some=3)
    # p of 0.6, 0.1, 0.1, 0.1, 0.1: the entropy is 1.23, so 0.6 (0.51 away) comes before 0.1 (1.08 away).
    ties = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1]] * 2, device=device).log()
    one = torch.ones(2, device=device)
    yield Case("ties at the end", (ties, torch.tensor([0, 1], device=device), one, torch.tensor([0.5, 0.65]).to(one)))


wrong(keep_typical, "typical_p ignored")(lambda a: {"typical_p": torch.ones_like(a["typical_p"])})
wrong(keep_typical, "temperature ignored")(lambda a: {"temperature": torch.ones_like(a["temperature"])})
wrong(keep_typical, "first rows, not the named ones")(lambda a: {"rows": torch.arange(len(a["rows"]))})


def differently(name: str, keep: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A mutant that keeps other tokens: `keep(scaled, typical_p)`."""

    def fn(logits: Tensor, rows: Tensor, temperature: Tensor, typical_p: Tensor) -> None:
        scaled = logits[rows] / temperature[:, None]
        logits[rows] = logits[rows].masked_fill(~keep(scaled, typical_p), -torch.inf)

    keep_typical.mutant(name)(fn)


def incomplete(scaled: Tensor, typical_p: Tensor) -> Tensor:
    """One token too few wherever there are two."""
    distance = distances(scaled)
    kept = typical(scaled, distance, typical_p)
    last = distance.masked_fill(~kept, -1).amax(-1, keepdim=True)
    return (kept & (distance < last)) | (typical_p[:, None] >= 1) | (kept.sum(-1, keepdim=True) < 2)


differently("nucleus", lambda scaled, p: typical(scaled, -scaled, p))
differently("surprisal above the entropy only", lambda s, p: typical(s, -s.log_softmax(-1).clamp(max=-1), p))
differently("without the token that completes the mass", incomplete)
