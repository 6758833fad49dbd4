"""What running a chunk brings."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.messages import TokenLogprob


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sequence's next token. `sound` is False where its logits were not finite: the token then means nothing."""

    token: int
    sound: bool = True
    logprob: TokenLogprob | None = None
