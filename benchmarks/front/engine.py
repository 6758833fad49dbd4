"""An engine without a model: one token per step each. `python -m benchmarks.front.engine ADDRESS STEP_MS`."""

from __future__ import annotations

import sys
import time

from rustinfer.protocol.messages import Abort, Aborted, Delta, Generate, Output, TokenLogprob
from rustinfer.protocol.router import EngineChannel, Gone, Peer
from tests.server.fake_engine import card

CONTEXT = 1 << 20
WIDTH = 2048
MODEL = "null"


class NullEngine:
    """Answers as fast as `step_seconds` allows; 0 answers at once."""

    def __init__(self, address: str, step_seconds: float) -> None:
        model = card(id=MODEL, context=CONTEXT, eos_ids=[], width=WIDTH)
        self._channel = EngineChannel(address, model, epoch=1, build="null", fingerprint="0" * 32)
        self._step_seconds = step_seconds
        self._left: dict[tuple[Peer, str, int], int] = {}
        self._top: dict[tuple[Peer, str], list[TokenLogprob] | None] = {}

    def run(self) -> None:
        """Until killed."""
        due = time.monotonic()
        while True:
            wait = max(due - time.monotonic(), 0.0) if self._left else None
            for received in self._channel.poll(wait):
                self._take(received.peer, received.message)
            if self._left and time.monotonic() >= due:
                self._step()
                due = time.monotonic() + self._step_seconds

    def _take(self, peer: Peer, message: Generate | Abort | Gone) -> None:
        if isinstance(message, Generate) and message.pool:
            output = Output(message.id, 0, [], finish_reason="stop", embedding=[0.123456789] * WIDTH)
            self._channel.send(peer, Delta(1, [output]))
        elif isinstance(message, Generate):
            count = message.sampling.logprobs
            top = [(token, -token / 3) for token in range(count or 0)]
            self._top[peer, message.id] = None if count is None else [(-0.1, top, 1)]
            for index in range(message.sampling.n):
                self._left[peer, message.id, index] = message.sampling.max_tokens or 1
        elif isinstance(message, Gone):
            self._left = {key: left for key, left in self._left.items() if key[0] != peer}
        else:
            self._left = {k: n for k, n in self._left.items() if k[0] != peer or k[1] not in message.ids}
            self._channel.send(peer, Aborted(message.ids))

    def _step(self) -> None:
        outputs: dict[Peer, list[Output]] = {}
        for key, left in list(self._left.items()):
            peer, name, index = key
            output = Output(name, index, [97], self._top[peer, name], None if left > 1 else "length")
            outputs.setdefault(peer, []).append(output)
            if left > 1:
                self._left[key] = left - 1
            else:
                del self._left[key]
        for peer, batch in outputs.items():
            self._channel.send(peer, Delta(1, batch))


if __name__ == "__main__":
    NullEngine(sys.argv[1], float(sys.argv[2]) / 1000).run()
