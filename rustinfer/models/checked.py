"""Weights whose shapes are held against the configuration when they are read."""

from __future__ import annotations

from abc import abstractmethod

from ..registry import Weight
from .config import ModelConfig
from .errors import CheckpointError
from .named import Named
from .shapes import weight_shapes


class Stored(Named):
    """Weights in files, of which each can tell its shape before it is read."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Rows first. Raises KeyError for an unknown name."""


class CheckedWeights(Named):
    """Weights of a decoder. Raises CheckpointError where a weight that its configuration describes has another shape.

    Weights that only some architecture knows are passed on as they are. A tied head is hidden: the model then reads
    the embedding twice.
    """

    def __init__(self, source: Stored, config: ModelConfig, where: str) -> None:
        self.source = source
        self.where = where
        self._shapes = weight_shapes(config)
        self._hidden = {"lm_head.weight"} if config.tied else set()
        self.names = dict.fromkeys(name for name in source if name not in self._hidden)

    def __getitem__(self, name: str) -> Weight:
        if name in self._hidden:
            raise KeyError(name)
        expected = self._shapes.get(name)
        if expected is not None and name in self.source and (found := self.source.shape(name)) != expected:
            raise CheckpointError(f"{self.where}: {name} is {[*found]}, but the configuration says {[*expected]}")
        return self.source[name]
