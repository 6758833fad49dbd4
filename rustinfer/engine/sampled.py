"""What a step brings back to the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..protocol.messages import TokenLogprob


@dataclass(slots=True)
class Sampled:
    """The next token of each row that was sampled, in the plan's order; what is rare is told by the row's number.

    `unsound` rows had logits that are not finite: their tokens mean nothing.
    """

    tokens: list[int]
    unsound: Collection[int] = ()
    logprobs: Mapping[int, TokenLogprob] = field(default_factory=dict)


class Flight(Protocol):
    """A step that has been launched. Steps are computed in the order of their launch."""

    def result(self) -> Sampled:
        """Wait for it and read what it brought. Raises whatever the device raises."""
        ...
