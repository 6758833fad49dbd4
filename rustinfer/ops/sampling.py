"""Choosing the next token."""

from __future__ import annotations

import torch
from torch import Tensor

from rustinfer.registry import op

from .philox import gumbel
from .precision import EXACT


@op(rows=("logits",))
def argmax(logits: Tensor) -> Tensor:
    """The most likely token of each row, the lowest id among equals; where there is a NaN, one that is not finite.

    logits: [R, vocab] fp32. Returns [R] int64.
    """
    return logits.argmax(-1)


@op(rows=("logits", "temperature", "top_k", "top_p", "min_p", "seeds", "positions"))
def sample(
    logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, seeds: Tensor, positions: Tensor
) -> Tensor:
    """One token per row, drawn from what top-k, top-p and min-p leave of softmax(logits / temperature).

    Temperature 0 means argmax, and so does a row whose argmax is not finite. The rest of a row is masked in this order:
    all but the top_k likeliest (0: keep all), all but the smallest set of likeliest tokens that has at least top_p of
    what is left, all less likely than min_p times the likeliest; tokens as likely as the last one kept are kept too.
    The token is then the argmax of logits / temperature + Gumbel noise, which is `philox.gumbel` of the row's seed and
    position: it depends on nothing but the row. logits: [R, vocab] fp32; temperature, top_p, min_p: [R] fp32; top_k,
    seeds, positions: [R] int64. Returns [R] int64.
    """
    greedy, random = logits.argmax(-1), temperature > 0
    if not random.any():
        return greedy
    random &= logits.gather(1, greedy[:, None])[:, 0].isfinite()
    scaled = logits / temperature.where(random, 1)[:, None]
    kept = scaled.masked_fill(scaled < cutoff(scaled, top_k, top_p, min_p), -torch.inf)
    noise = gumbel(seeds, positions, logits.shape[1]).to(logits.dtype)
    return (kept + noise).argmax(-1).where(random, greedy)


@op(rows=("logits", "tokens"), tolerance=EXACT)
def sound(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What the next step is fed, and what the host is told: a token always, and -1 where its logit is not finite.

    logits: [R, vocab] fp32; tokens: [R] int64, of which a kernel may have named any where a row is nothing but NaN.
    Returns tokens of the vocabulary, [R] int64, and the same or -1, [R] int64.
    """
    tokens = tokens.clamp(0, logits.shape[1] - 1)
    finite = logits.gather(1, tokens[:, None])[:, 0].abs() < torch.inf
    return tokens, tokens.where(finite, -1)


def cutoff(scaled: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """The least scaled logit that each row keeps: [R, 1]."""
    likely = scaled.amax(-1, keepdim=True) + min_p[:, None].log()
    if not ((top_k > 0) | (top_p < 1)).any():
        return likely
    ordered = scaled.sort(-1, descending=True).values
    last = top_k.where(top_k > 0, scaled.shape[1]).clamp(max=scaled.shape[1])[:, None] - 1
    ordered = ordered.masked_fill(ordered < ordered.gather(1, last), -torch.inf)
    return torch.maximum(likely, ordered.gather(1, nucleus(ordered, top_p)))


def nucleus(ordered: Tensor, top_p: Tensor) -> Tensor:
    """Where, in logits sorted downwards, the smallest set with a share of top_p ends: [R, 1]."""
    share = ordered.softmax(-1)
    before = share.cumsum(-1) - share
    # Rounded sums may reach 1 before the last token, so 1 itself is told apart.
    inside = (before < top_p[:, None]) & (share > 0) | (top_p[:, None] >= 1) & (ordered > -torch.inf)
    return (inside.sum(-1, keepdim=True) - 1).clamp(min=0)
