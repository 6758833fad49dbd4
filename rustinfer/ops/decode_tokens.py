"""Several tokens of a few sequences, one after another: what `decode_step` says, drawn from and fed to it again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rustinfer.registry import Binder, op
from rustinfer.registry.op import Function

from .decode import Caches, Decoder, decode_step
from .place import advance
from .sampling import sample

NOTHING, UNSOUND = -2, -1
"""What is told in place of a token: that none was drawn, and that the logits were not finite."""


@op(mutates=("tokens", "newest", "told", "caches"))
def decode_tokens(
    tokens: Tensor,
    newest: Tensor,
    begin: Tensor,
    temperature: Tensor,
    seeds: Tensor,
    pages: Tensor,
    told: Tensor,
    stop: Tensor,
    caches: Caches,
    *,
    decoder: Decoder,
    page_size: int,
) -> None:
    """Draw `len(told)` tokens of each sequence, each from what `decode_step` says after the one before.

    tokens: [S] int64, each row's newest token, and newest: [S] int64, the position of the newest in the cache, as in
    `advance` (negative: the row takes no part); both are left as the next call needs them. begin: [S] int64, where
    the row's output begins. temperature: [S] float32 and seeds: [S] int64, as in `sample`, nothing being cut off.
    pages: [S, P] int32, with those of the positions to come. caches: as in `decode_step`.

    told: [N, S] int64 has the tokens, NOTHING for a row that takes no part, and UNSOUND where a row's logits are not
    finite (the row goes on, with some token). Its words are written as the tokens are drawn, those of a token before
    any of the next, so that a host may read them from memory that it shares with the device.
    stop: [1] int64, which a host may set meanwhile: between two tokens it ends the call, and the rest is NOTHING.
    """
    step, place = partial(decode_step, decoder=decoder), partial(advance, page_size=page_size)
    one_by_one(place, step, sample)(tokens, newest, begin, temperature, seeds, pages, told, stop, caches)


@decode_tokens.compose
def _(ops: Binder, *, decoder: Decoder, page_size: int) -> Function:
    step, place, target = ops.decode_step(decoder=decoder), ops.advance(page_size=page_size), ops.target
    ops.target = replace(target, dtype=torch.float32)  # of logits
    draw = ops.sample()
    ops.target = target
    return one_by_one(place, step, draw)


def one_by_one(place: Function, step: Function, draw: Function) -> Function:
    """The op, of `advance`, `decode_step` and `sample`."""

    def call(
        tokens: Tensor, newest: Tensor, begin: Tensor, temperature: Tensor, seeds: Tensor, pages: Tensor,
        told: Tensor, stop: Tensor, caches: Caches,
    ) -> None:  # fmt: skip
        nowhere, everything = torch.zeros_like(seeds), torch.ones_like(temperature)
        starts = torch.arange(len(tokens) + 1, dtype=torch.int32, device=tokens.device)
        for number, words in enumerate(told):
            if number and stop.item():
                told[number:] = NOTHING
                return
            used = newest >= 0
            positions, slots, lengths, drawing = place(newest, begin, pages)
            logits = step(tokens, positions, slots, starts, lengths, pages, caches)
            drawn = draw(logits, temperature, nowhere, everything, 1 - everything, seeds, drawing)
            tokens.copy_(drawn.clamp(0, logits.shape[1] - 1).where(used, tokens))
            # NaN is the greatest here, and then infinity.
            sound = logits.amax(-1).abs() < torch.inf
            words.copy_(tokens.where(sound, UNSOUND).where(used, NOTHING), non_blocking=True)

    return call
