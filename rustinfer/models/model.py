"""What a model is to the engine: a wiring of bound ops that turns a Step into hidden states and logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..registry import Binder
from .config import ModelConfig
from .parameters import Parameters

Cache = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CacheSpec:
    """The key-value cache that a model needs: for each layer two tensors [pages, kv_heads, page_size, head_dim]."""

    layers: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class Step:
    """The inputs of one forward pass over T rows (tokens) of S sequences, as device tensors.

    tokens, positions, slots: int64 [T]. A slot is page * page_size + offset; a negative one is not written.
    query_starts: int32 [S + 1], where each sequence's rows begin. lengths: int32 [S], tokens in the cache after this
    step. pages: int32 [S, P], each sequence's pages in order. last: int64 [S], each sequence's last row, where no other
    is asked for: of the rest a model need not compute more than keys and values. It may still give all rows.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    query_starts: Tensor
    lengths: Tensor
    pages: Tensor
    last: Tensor | None = None


class Model(Protocol):
    """Bound ops in the order of the architecture. It holds no state but its weights and the cache it was given.

    Bound for decoding (`ops.target.decode`) it is asked for `decode` alone, otherwise for `forward` and `logits`.
    It may have `decode_tokens`, too: the op of that name, over its cache.
    """

    def forward(self, step: Step) -> Tensor:
        """Hidden states [T, width] of the step's rows, or [S, width] of its `last`, ready for the vocabulary."""
        ...

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Float32 logits [R, vocab] of the selected rows (int64 [R]) of `forward`'s result."""
        ...

    def decode(self, step: Step) -> Tensor:
        """Float32 logits [S, vocab] of a step with one row a sequence."""
        ...


class ModelBuilder(Protocol):
    """What the hook `rustinfer_models` maps an architecture's name to."""

    def cache_spec(self, config: ModelConfig) -> CacheSpec:
        """The cache to allocate before the model is built."""
        ...

    def __call__(self, config: ModelConfig, ops: Binder, weights: Parameters, cache: Cache) -> Model:
        """Bind every op of the architecture. May run again with another binder over the same weights and cache."""
        ...
