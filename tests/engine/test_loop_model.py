"""Clients against a model of the engine: requests, doubled ids and aborts in any order, in the form of the wire.

F20. Each message is written, sometimes spoilt, and read again before it reaches the loop, as it would by a socket.
"""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from rustinfer.engine.loop import EngineLoop
from rustinfer.protocol.codec import TO_ENGINE, ProtocolError, decode, encode
from rustinfer.protocol.messages import Abort, Aborted, Delta, Failed, Generate, Message
from rustinfer.protocol.router import Gone, Peer, Received
from tests.conftest import Saw

from .fakes import alone, engine
from .test_loop import FakeChannel, generate

PEERS = [b"x", b"y"]
NAMES = st.sampled_from("abcdef")
Key = tuple[Peer, str]


class Client(RuleBasedStateMachine):
    """What two servers may do to one engine, and what each must hear."""

    @initialize(depth=st.integers(0, 1), seed=st.integers(0, 9))
    def start(self, depth: int, seed: int) -> None:
        self.channel = FakeChannel()
        self.loop = EngineLoop(engine(pages=24, depth=depth), self.channel)
        self.luck = random.Random(seed)
        self.wanted: dict[Key, list[int]] = {}
        self.said: dict[Key, list[int]] = {}
        self.doubled: list[Key] = []
        self.aborts: dict[Peer, int] = dict.fromkeys(PEERS, 0)
        self.read = 0

    @rule(peer=st.sampled_from(PEERS), name=NAMES, length=st.integers(1, 9), tokens=st.integers(1, 12))
    def ask(self, peer: Peer, name: str, length: int, tokens: int) -> None:
        prompt = list(range(1, length + 1))
        if not self.send(peer, generate(name, prompt, max_tokens=tokens, ignore_eos=False)):
            return
        if (peer, name) in self.wanted:
            self.doubled.append((peer, name))
        else:
            self.wanted[peer, name], self.said[peer, name] = alone(prompt, tokens), []
        self.turn()

    @rule(peer=st.sampled_from(PEERS), names=st.lists(NAMES, max_size=3))
    def abort(self, peer: Peer, names: list[str]) -> None:
        if self.send(peer, Abort(names)):
            self.aborts[peer] += 1
            self.turn()
            for name in names:
                self.wanted.pop((peer, name), None)

    @rule(peer=st.sampled_from(PEERS))
    def vanish(self, peer: Peer) -> None:
        self.channel.inbox.append(Received(peer, Gone()))
        self.turn()
        self.wanted = {key: said for key, said in self.wanted.items() if key[0] != peer}

    @rule(times=st.integers(1, 6))
    def step(self, times: int) -> None:
        for _ in range(times):
            self.turn()

    def send(self, peer: Peer, message: Generate | Abort) -> bool:
        """By frames, of which some are spoilt. Says whether it arrived."""
        frames = [bytearray(frame) for frame in encode(message)]
        if spoil := self.luck.random() < 0.2:
            frame = self.luck.choice(frames)
            frame[self.luck.randrange(len(frame))] ^= 1 << self.luck.randrange(8)
        try:
            read = decode([bytes(frame) for frame in frames], TO_ENGINE)
        except ProtocolError:
            return False
        if spoil:
            return False  # it says something else now, which another rule may say, too
        assert read == message
        self.channel.inbox.append(Received(peer, message))
        return True

    def turn(self) -> None:
        self.loop.turn(wait=False)
        news, self.read = self.channel.sent[self.read :], len(self.channel.sent)
        for peer, message in news:
            self.hear(peer, message)
        scheduler = self.loop.engine.scheduler
        self.loop.engine.cache.check(list(scheduler.sequences()))

    def hear(self, peer: Peer, message: Message) -> None:
        if isinstance(message, Aborted):
            self.aborts[peer] -= 1
        elif isinstance(message, Failed):
            assert message.code == "duplicate_id", message
            self.doubled.remove((peer, message.id))
        elif isinstance(message, Delta):
            for output in message.outputs:
                key = peer, output.id
                assert key in self.wanted, "an output for what was not asked, or is over"
                self.said[key] += output.token_ids
                if output.finish_reason:
                    assert self.said[key] == self.wanted.pop(key)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for _ in range(500):
            if not self.wanted and not self.loop.engine.has_work:
                break
            self.turn()
        assert (self.wanted, self.doubled, set(self.aborts.values())) == ({}, [], {0})
        assert self.loop.engine.cache.available == self.loop.engine.cache.pool.total


SETTINGS = settings(max_examples=60, stateful_step_count=40)


def test_f20_any_client(saw: Saw) -> None:
    """Two clients of a model of the engine do 60 times what they like: ask, ask twice, abort, vanish, spoil frames."""
    run_state_machine_as_test(Client, settings=SETTINGS)
    saw("each request: its own tokens and one end, or none after its abort; each doubled id: `duplicate_id`", None)
