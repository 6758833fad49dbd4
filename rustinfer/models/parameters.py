"""A model's weights by name, each read once and shared by every wiring of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..registry import Weight, dense, join
from .named import Named

_COMPUTED = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")


class Parameters(Named):
    """A checkpoint's weights, remembered from the first look-up on, so that wirings share them by identity.

    Raises KeyError for a name that the checkpoint lacks.
    """

    def __init__(self, source: Mapping[str, Weight]) -> None:
        self.source = self.names = source
        self._held: dict[str, Weight] = {}

    def __getitem__(self, name: str) -> Weight:
        if name not in self._held:
            self._held[name] = self.source[name]
        return self._held[name]

    def dense(self, name: str) -> Tensor:
        """A weight as a plain tensor: for vectors such as those of norms and biases."""
        return dense(self[name])

    def stacked(self, names: Sequence[str]) -> Weight:
        """Several matrices stacked by rows. The parts are not kept."""
        key = "+".join(names)
        if key not in self._held:
            self._held[key] = join([self.source[name] for name in names])
        return self._held[key]

    def stacked_vector(self, names: Sequence[str]) -> Tensor | None:
        """Several vectors joined end to end, or None where the checkpoint has none of them."""
        return dense(self.stacked(names)) if names[0] in self.source else None

    @property
    def unread(self) -> list[str]:
        """Weights that nobody has looked up, but for tables that old checkpoints carry and everybody computes."""
        read = {name for key in self._held for name in key.split("+")}
        return sorted(name for name in self.source if name not in read and not name.endswith(_COMPUTED))
