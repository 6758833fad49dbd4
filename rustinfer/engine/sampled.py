"""What a step brings back to the host."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..protocol.messages import TokenLogprob


@dataclass(slots=True)
class Sampled:
    """The next token of each row that was sampled, in the plan's order; what is rare is told by the row's number.

    Of `undrawn` rows nothing was computed: their launch was stopped before. `unsound` rows had logits that are not
    finite, `stuck` ones had no token to take, with the reason why: their tokens mean nothing. Nor do those of `late`
    rows, whose mask was not there: their step does not count. By a chunk's number, `prompts` has the log-probabilities
    of the tokens that follow its rows, `pooled` its hidden states as one vector, and `verified` the tokens drawn at the
    rows of a guess (-1: not sound).
    """

    tokens: list[int]
    unsound: Collection[int] = ()
    late: Collection[int] = ()
    undrawn: Collection[int] = ()
    stuck: Mapping[int, str] = field(default_factory=dict)
    logprobs: Mapping[int, TokenLogprob] = field(default_factory=dict)
    verified: Mapping[int, list[int]] = field(default_factory=dict)
    prompts: Mapping[int, list[TokenLogprob]] = field(default_factory=dict)
    pooled: Mapping[int, list[float]] = field(default_factory=dict)


class Flight(Protocol):
    """A step that has been launched. Steps are computed in the order of their launch."""

    def result(self) -> Sampled:
        """Wait for it and read what it brought; of a plan for several tokens, for the next of them each time.

        Raises whatever the device raises, and KernelFault.
        """
        ...

    def stop(self) -> None:
        """Nobody wants more tokens of it than the one that it is at. It may bring them all the same."""
        return
