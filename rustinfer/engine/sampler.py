"""From logits to tokens: the greedy path is one argmax; only rows that ask for more pay for more."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..protocol.messages import TokenLogprob
from ..protocol.sampling import SamplingParams
from ..registry import Binder
from .sampled import Sampled
from .sequence import Sequence


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


def is_penalized(p: SamplingParams) -> bool:
    """Whether any penalty is in force."""
    return p.presence_penalty != 0 or p.frequency_penalty != 0 or p.repetition_penalty != 1


def settings(sequences: Items[Sequence], device: torch.device) -> Settings:
    """The sampling parameters of these sequences, in their order."""
    params = [s.request.sampling for s in sequences]

    def floats(values: Items[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    def integers(values: Items[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    penalized = [i for i, p in enumerate(params) if is_penalized(p)]
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

    def __call__(self, logits: Tensor, sequences: list[Sequence]) -> list[Sampled]:
        """One result per row of logits [R, vocab] fp32, which may be written to."""
        if sequences != self._batch:
            self._batch, self._settings = sequences, settings(sequences, self.device)
        s = self._settings
        sound = logits.amax(-1).isfinite()
        scores = logits[s.scored].log_softmax(-1) if s.scored else None
        logits = self._adjust(logits, sequences, s)
        if s.greedy:
            tokens = self.argmax(logits)
        else:
            positions = torch.tensor([q.generated for q in sequences], dtype=torch.int64, device=self.device)
            tokens = self.sample(logits, s.temperature, s.top_k, s.top_p, s.min_p, s.seeds, positions)
        chosen: list[int] = tokens.tolist()
        if scores is None and bool(sound.all()):
            return [Sampled(token) for token in chosen]
        logprobs = {} if scores is None else self._logprobs(scores, tokens, sequences, s.scored)
        return [Sampled(t, ok, logprobs.get(i)) for i, (t, ok) in enumerate(zip(chosen, sound.tolist(), strict=True))]

    def _adjust(self, logits: Tensor, sequences: list[Sequence], s: Settings) -> Tensor:
        if s.penalized:
            asking = [sequences[i] for i in s.penalized]
            vocab = logits.shape[1]
            prompt = self._padded([q.tokens[: q.prompt] for q in asking], vocab)
            output = self._padded([q.tokens[q.prompt :] for q in asking], vocab)
            logits[s.penalized] = self.penalize(logits[s.penalized], prompt, output, *s.penalties)
        for i in s.delayed:
            sequence = sequences[i]
            if sequence.generated < sequence.request.sampling.min_tokens:
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

    def _logprobs(
        self, scores: Tensor, tokens: Tensor, sequences: list[Sequence], rows: list[int]
    ) -> dict[int, TokenLogprob]:
        chosen = scores.gather(1, tokens[rows][:, None])
        own, ranks = chosen[:, 0].tolist(), ((scores > chosen).sum(-1) + 1).tolist()
        wanted = [sequences[i].request.sampling.logprobs or 0 for i in rows]
        best = scores.topk(min(max(wanted), scores.shape[1]), dim=-1)
        values, ids = best.values.tolist(), best.indices.tolist()
        return {
            i: (score, list(zip(top[:k], value[:k], strict=True)), rank)
            for i, score, rank, top, value, k in zip(rows, own, ranks, ids, values, wanted, strict=True)
        }
