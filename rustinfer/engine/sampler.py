"""From logits to tokens: the greedy path is one argmax; only rows that ask for more pay for more."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from ..protocol.sampling import SamplingParams
from ..registry import Binder
from .adjust import Adjustment, Adjustments
from .bounds import GAVE_UP, NONE_LEFT, Bounds
from .sampled import Sampled
from .scores import Scores
from .sequence import Request, Sequence, is_penalized
from .threads import few


@dataclass(frozen=True)
class Drawn:
    """What was chosen, still on the device: the rows' next tokens, int64 [R].

    `read` makes the results of `tensors`, or of copies of them on the host.
    """

    tokens: Tensor
    tensors: list[Tensor]
    read: Callable[[list[Tensor]], Sampled]

    def beside(self, tensors: Items[Tensor], note: Callable[[Sampled, list[Tensor]], None]) -> Drawn:
        """This, and more tensors: `note` writes into the results what those, or copies of them, say."""
        own = len(self.tensors)

        def read(copies: list[Tensor]) -> Sampled:
            sampled = self.read(copies[:own])
            note(sampled, copies[own:])
            return sampled

        return Drawn(self.tokens, [*self.tensors, *tensors], read)


class Settings:
    """The parameters of a batch's rows as tensors, made once for as long as the batch stays the same."""

    def __init__(self, sequences: Items[Sequence], adjust: Adjustments, vocab: int) -> None:
        params = [s.request.sampling for s in sequences]
        self.greedy = all(p.temperature == 0 for p in params)
        self.shaping = (
            adjust.floats([p.temperature for p in params]),
            adjust.integers([p.top_k for p in params]),
            adjust.floats([p.top_p for p in params]),
            adjust.floats([p.min_p for p in params]),
            adjust.integers([s.seed for s in sequences]),
        )
        self.penalized = [i for i, p in enumerate(params) if is_penalized(p)]
        made = (adjust.biases(sequences), adjust.penalties(sequences, self.penalized))
        self.adjustments: list[Adjustment] = [a for a in made if a]
        self.bounds = Bounds(sequences, adjust, vocab)
        self.typical = adjust.typicals(sequences)
        self.scored = scored = [i for i, p in enumerate(params) if p.logprobs is not None or p.sequences > p.n]
        self.wanted = [params[i].logprobs or 0 for i in scored]
        self.scored_rows = adjust.integers(scored)


class Sampler:
    """Chooses one token per row with bound ops.

    Log-probabilities are those of the model itself, before anything changes its logits. A row's token depends on its
    own logits, parameters, seed and tokens so far alone, whatever else is in the batch.
    """

    def __init__(self, ops: Binder, vocab: int) -> None:
        ops.site = "sampler"
        self.vocab = vocab
        self.argmax, self.sample, self.adjust = ops.argmax(), ops.sample(), Adjustments(ops, vocab)
        self._batch: list[Sequence] = []
        self._settings = Settings([], self.adjust, vocab)

    def __call__(self, logits: Tensor, sequences: list[Sequence], newest: Tensor | None = None) -> Drawn:
        """Draw for each row of logits [R, vocab] fp32, which may be written to. Waits for no device.

        `newest`, int64 [R], has the token that was fed last to each row that decodes: the host may not know it yet.
        """
        with few(logits):
            return self._drawn(logits, sequences, newest)

    def forget(self) -> None:
        """Nobody knows what was done for the rows of a step that raised."""
        self.adjust.counts.forget(self._batch)
        self._batch = []

    def _drawn(self, logits: Tensor, sequences: list[Sequence], newest: Tensor | None) -> Drawn:
        if sequences != self._batch:
            self._batch, self._settings = sequences, Settings(sequences, self.adjust, self.vocab)
        s = self._settings
        sound = logits.amax(-1).abs() < torch.inf
        raw = logits[s.scored_rows] if s.scored else None
        if s.penalized:
            self.adjust.counts.follow([sequences[i] for i in s.penalized], s.penalized, newest)
        for adjustment in s.adjustments:
            adjustment(logits)
        left = s.bounds(logits) if s.bounds.rows else None
        if s.typical:
            s.typical(logits)
        tokens = self._draw(logits, sequences, s)
        scores = Scores.of(raw, tokens[s.scored_rows], s.wanted) if raw is not None else None
        return drawn(tokens, sound, s, left, scores)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every op once: on a GPU none is then compiled while somebody waits."""
        params = SamplingParams(
            temperature=1.0, typical_p=0.5, presence_penalty=1.0, logit_bias={0: 1.0}, allowed_token_ids=[0], logprobs=1
        )
        batch = [Sequence(Request("", [0], params), i, 0, 1, 0) for i in range(2)]
        self(torch.zeros(2, self.vocab, device=self.adjust.device), batch)
        self._batch, self._settings = [], Settings([], self.adjust, self.vocab)

    def _draw(self, logits: Tensor, sequences: list[Sequence], s: Settings) -> Tensor:
        if s.greedy:
            greedy: Tensor = self.argmax(logits)
            return greedy
        positions = self.adjust.integers([q.drawing for q in sequences])
        tokens: Tensor = self.sample(logits, *s.shaping, positions)
        return tokens


def drawn(tokens: Tensor, sound: Tensor, s: Settings, left: Tensor | None, scores: Scores | None) -> Drawn:
    """The tensors that a batch's results are read from."""
    tensors = [tokens, sound, *([left] if left is not None else []), *(scores.tensors if scores else [])]
    gave_up, late = dict.fromkeys(s.bounds.gave_up, GAVE_UP), s.bounds.late

    def read(copies: list[Tensor]) -> Sampled:
        tokens, sound, *others = copies
        sampled = Sampled(tokens.tolist(), _where(sound))
        if left is not None:
            stuck = {s.bounds.rows[i]: NONE_LEFT for i in _where(others.pop(0))}
            sampled.stuck, sampled.late = stuck | gave_up, late
        if scores is not None:
            sampled.logprobs = dict(zip(s.scored, scores.read(others), strict=True))
        return sampled

    return Drawn(tokens, tensors, read)


def _where(good: Tensor) -> list[int]:
    """The places that are not good."""
    return [] if bool(good.all()) else torch.nonzero(~good)[:, 0].tolist()
