"""From logits to tokens: the greedy path is one argmax; only rows that ask for more pay for more."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..protocol.sampling import SamplingParams
from ..registry import Binder
from .sampled import Sampled
from .sequence import Sequence, needs_values


@dataclass(frozen=True)
class Settings:
    """The parameters of a batch's rows as tensors, made once for as long as the batch stays the same."""

    greedy: bool
    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    seeds: Tensor
    penalized: list[int]
    penalties: tuple[Tensor, Tensor, Tensor]
    scored: list[int]
    delayed: list[int]


def settings(sequences: Items[Sequence], device: torch.device) -> Settings:
    """The sampling parameters of these sequences, in their order."""
    params = [s.request.sampling for s in sequences]

    def floats(values: Items[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def integers(values: Items[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    penalized = [i for i, p in enumerate(params) if needs_values(p)]
    asking = [params[i] for i in penalized]
    return Settings(
        greedy=all(p.temperature == 0 for p in params),
        temperature=floats([p.temperature for p in params]),
        top_k=integers([p.top_k for p in params]),
        top_p=floats([p.top_p for p in params]),
        min_p=floats([p.min_p for p in params]),
        seeds=integers([s.seed for s in sequences]),
        penalized=penalized,
        penalties=(
            floats([p.presence_penalty for p in asking]),
            floats([p.frequency_penalty for p in asking]),
            floats([p.repetition_penalty for p in asking]),
        ),
        scored=[i for i, p in enumerate(params) if p.logprobs is not None],
        delayed=[i for i, p in enumerate(params) if p.min_tokens],
    )


@dataclass(frozen=True)
class Drawn:
    """What was chosen, still on the device: the rows' next tokens, int64 [R].

    `read` makes the results of `tensors`, or of copies of them on the host.
    """

    tokens: Tensor
    tensors: list[Tensor]
    read: Callable[[list[Tensor]], Sampled]


class Sampler:
    """Chooses one token per row with bound ops.

    Log-probabilities are those of the model itself, before penalties and temperature. A row's token depends on its own
    logits, parameters, seed and count of tokens alone, whatever else is in the batch.
    """

    def __init__(self, ops: Binder, eos_ids: Items[int]) -> None:
        ops.site = "sampler"
        self.device = ops.target.device
        self.argmax, self.penalize, self.sample = ops.argmax(), ops.penalize(), ops.sample()
        self.eos_ids = tuple(eos_ids)
        self._batch: list[Sequence] = []
        self._settings = settings([], self.device)

    def __call__(self, logits: Tensor, sequences: list[Sequence]) -> Drawn:
        """Draw for each row of logits [R, vocab] fp32, which may be written to. Waits for no device."""
        if sequences != self._batch:
            self._batch, self._settings = sequences, settings(sequences, self.device)
        s = self._settings
        sound = logits.amax(-1).isfinite()
        scores = logits[s.scored].log_softmax(-1) if s.scored else None
        logits = self._adjust(logits, sequences, s)
        if s.greedy:
            tokens = self.argmax(logits)
        else:
            positions = torch.tensor([q.drawing for q in sequences], dtype=torch.int64, device=self.device)
            tokens = self.sample(logits, s.temperature, s.top_k, s.top_p, s.min_p, s.seeds, positions)
        if scores is None:
            return Drawn(tokens, [tokens, sound], _read)
        wanted = [sequences[i].request.sampling.logprobs or 0 for i in s.scored]
        return self._scored(tokens, sound, scores, s.scored, wanted)

    def _adjust(self, logits: Tensor, sequences: list[Sequence], s: Settings) -> Tensor:
        if s.penalized:
            asking = [sequences[i] for i in s.penalized]
            vocab = logits.shape[1]
            prompt = self._padded([q.tokens[: q.prompt] for q in asking], vocab)
            output = self._padded([q.tokens[q.prompt :] for q in asking], vocab)
            logits[s.penalized] = self.penalize(logits[s.penalized], prompt, output, *s.penalties)
        for i in s.delayed:
            sequence = sequences[i]
            if sequence.drawing < sequence.request.sampling.min_tokens:
                logits[i, self._ends(sequence.request.sampling, logits.shape[1])] = -torch.inf
        return logits

    def _ends(self, params: SamplingParams, vocab: int) -> list[int]:
        ends = [*params.stop_token_ids, *(() if params.ignore_eos else self.eos_ids)]
        return [token for token in ends if token < vocab]

    def _padded(self, lists: Items[Items[int]], filler: int) -> Tensor:
        table = np.full((len(lists), max(map(len, lists))), filler, np.int64)
        for row, ids in zip(table, lists, strict=True):
            row[: len(ids)] = ids
        return torch.from_numpy(table).to(self.device)

    def _scored(self, tokens: Tensor, sound: Tensor, scores: Tensor, rows: list[int], wanted: list[int]) -> Drawn:
        own = scores.gather(1, tokens[rows][:, None])
        ranks = (scores > own).sum(-1) + 1
        best = scores.topk(min(max(wanted), scores.shape[1]), dim=-1)

        def read(tensors: list[Tensor]) -> Sampled:
            sampled = _read(tensors[:2])
            columns = (rows, *(t.tolist() for t in tensors[2:]), wanted)
            sampled.logprobs = {
                i: (score, list(zip(top[:k], value[:k], strict=True)), rank)
                for i, score, rank, value, top, k in zip(*columns, strict=True)
            }
            return sampled

        return Drawn(tokens, [tokens, sound, own[:, 0], ranks, best.values, best.indices], read)


def _read(tensors: list[Tensor]) -> Sampled:
    tokens, sound = tensors
    unsound = () if bool(sound.all()) else (~sound).nonzero()[:, 0].tolist()
    return Sampled(tokens.tolist(), unsound)
