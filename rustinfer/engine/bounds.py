"""Which tokens a row may take: allowed ones, bad words, ends that come too early, and what a grammar lets through.

All of it is decided on the host, from the tokens so far: bad words and grammars need them (`Sequence.needs_values`).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items

import numpy as np
import torch
from torch import Tensor

from .adjust import Adjustments
from .masks import late
from .sequence import Sequence

NONE_LEFT = "the request's parameters leave no token that could come next"
GAVE_UP = "the grammar became too complex for this output to go on"


class Bounds:
    """The bounds of one batch. `rows` are those that have any.

    Of the last step, `gave_up` are those whose grammar has no mask, and `late` those whose mask was not there yet.
    """

    def __init__(self, sequences: Items[Sequence], adjust: Adjustments, vocab: int) -> None:
        self._adjust, self._vocab = adjust, vocab
        params = [(i, s, s.request.sampling) for i, s in enumerate(sequences)]
        self._grammars = [(i, s, s.matcher) for i, s, p in params if s.matcher is not None]
        self._words = [(i, s) for i, s, p in params if p.bad_words_token_ids]
        self._early = [(i, s) for i, s, p in params if p.min_tokens and s.ends and s.matcher is None]
        lists = [(i, p.allowed_token_ids) for i, s, p in params if p.allowed_token_ids and s.matcher is None]
        self._lists = self._moved([i for i, _ in lists], [packed(ids, vocab) for _, ids in lists]) if lists else None
        self.rows = sorted({i for i, s, p in params if s.matcher or p.bad_words_token_ids or p.allowed_token_ids})
        self.rows += [i for i, _ in self._early if i not in self.rows]
        self.gave_up: list[int] = []
        self.late: list[int] = []
        self._index = adjust.integers(self.rows)

    def __call__(self, logits: Tensor) -> Tensor:
        """Mask what is forbidden. Returns, for each of `rows`, whether a token is left, on the device."""
        if self._lists is not None:
            self._adjust.mask(logits, *self._lists)
        if self._grammars:
            self._apply(logits)
        if pairs := sorted({(i, token) for i, token in self._forbidden() if token < self._vocab}):
            self._adjust.forbid(logits, pairs)
        return logits[self._index].amax(-1) > -torch.inf

    def _apply(self, logits: Tensor) -> None:
        self.gave_up, self.late, made = [], [], []
        for (row, sequence, place), missing in zip(self._grammars, late(p for _, _, p in self._grammars), strict=True):
            if missing:
                self.late.append(row)
            elif (mask := place.mask.result()) is None:
                self.gave_up.append(row)
            else:
                made.append((row, self._narrowed(sequence, mask)))
        if made:
            rows, masks = zip(*made, strict=True)
            self._adjust.mask(logits, *self._moved(rows, masks))

    def _narrowed(self, sequence: Sequence, mask: np.ndarray) -> np.ndarray:
        """What the grammar, allowed_token_ids and min_tokens leave; where the output is complete, its end may come."""
        params = sequence.request.sampling
        if params.allowed_token_ids is not None:
            mask = mask & packed([*params.allowed_token_ids, *sequence.ends], self._vocab)
        if sequence.drawing < params.min_tokens:
            longer = mask & ~packed(sequence.ends, self._vocab)
            mask = longer if longer.any() else mask
        return mask

    def _forbidden(self) -> Iterator[tuple[int, int]]:
        for i, s in self._words:
            for word in s.request.sampling.bad_words_token_ids:
                head = len(word) - 1
                if not head or (s.generated >= head and s.tokens[-head:].tolist() == list(word[:-1])):
                    yield i, word[-1]
        for i, s in self._early:
            if s.drawing < s.request.sampling.min_tokens:
                yield from ((i, token) for token in s.ends)

    def _moved(self, rows: Items[int], masks: Items[np.ndarray]) -> tuple[Tensor, Tensor]:
        return self._adjust.integers(rows), torch.from_numpy(np.stack(masks)).to(self._adjust.device)


def packed(tokens: Items[int] | frozenset[int], vocab: int) -> np.ndarray:
    """A mask of these tokens, as `ops.mask_logits` takes it."""
    flags = np.zeros(-(-vocab // 32) * 32, np.bool_)
    flags[[token for token in tokens if token < vocab]] = True
    return np.packbits(flags, bitorder="little").view(np.int32)
