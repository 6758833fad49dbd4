"""The loop between a channel and the engine, with a channel that is a list."""

from __future__ import annotations

import signal
import time

import pytest

from rustinfer.engine.engine import Engine
from rustinfer.engine.loop import EngineLoop
from rustinfer.engine.memory import Memory
from rustinfer.protocol.codec import ProtocolError
from rustinfer.protocol.messages import Abort, Aborted, Delta, Drain, Failed, Generate, Message, Output, Stats
from rustinfer.protocol.router import Gone, Peer, Received
from rustinfer.protocol.sampling import SamplingParams

from .fakes import alone, engine


class FakeChannel:
    def __init__(self) -> None:
        self.errors, self.epoch = 0, 7
        self.inbox: list[Received] = []
        self.sent: list[tuple[Peer, Message]] = []
        self.peers: list[Peer] = [b"x", b"y"]
        self.waits: list[float | None] = []
        self.unwritable: type[Message] | None = None

    def poll(self, timeout: float | None = 0.0) -> list[Received]:
        self.waits.append(timeout)
        found, self.inbox = self.inbox, []
        if not found and timeout != 0:
            time.sleep(0.02 if timeout is None else min(timeout, 0.02))
        return found

    def send(self, peer: Peer, message: Message) -> bool:
        if self.unwritable and isinstance(message, self.unwritable):
            raise ProtocolError("cannot be written")
        self.sent.append((peer, message))
        return peer in self.peers

    def broadcast(self, message: Message) -> None:
        for peer in self.peers:
            self.send(peer, message)

    def of(self, peer: Peer, kind: type) -> list:  # type: ignore[type-arg]
        return [m for p, m in self.sent if p == peer and isinstance(m, kind)]


def generate(name: str, prompt: list[int], **params: object) -> Generate:
    return Generate(name, prompt, SamplingParams(**{"temperature": 0.0, "ignore_eos": True, **params}))  # type: ignore[arg-type]


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


def loop_over(e: Engine, channel: FakeChannel) -> EngineLoop:
    return EngineLoop(e, channel)


def turns(loop: EngineLoop, channel: FakeChannel, most: int = 200) -> None:
    for _ in range(most):
        loop.turn(wait=False)
        if not loop.engine.has_work and not channel.inbox:
            return
    raise AssertionError("no end")


def outputs(channel: FakeChannel, peer: Peer) -> list[Output]:
    return [output for delta in channel.of(peer, Delta) for output in delta.outputs]


def test_one_delta_a_step_to_each_server_and_equal_ids_do_not_cross(channel: FakeChannel) -> None:
    loop = loop_over(engine(), channel)
    for peer in (b"x", b"y"):
        for name in "ab":
            prompt = [ord(name), peer[0]]
            channel.inbox.append(Received(peer, generate(name, prompt, max_tokens=5)))
    turns(loop, channel)
    for peer in (b"x", b"y"):
        assert [len(d.outputs) for d in channel.of(peer, Delta)] == [2] * 5
        assert {d.epoch for d in channel.of(peer, Delta)} == {7}
        for name in "ab":
            said = [t for o in outputs(channel, peer) if o.id == name for t in o.token_ids]
            wanted = alone([ord(name), peer[0]], 5)
            assert len(said) == 5
            assert said[: len(wanted)] == wanted


def test_what_cannot_be_run_is_answered_and_the_rest_goes_on(channel: FakeChannel) -> None:
    loop = loop_over(engine(), channel)
    channel.inbox = [
        Received(b"x", generate("empty", [])),
        Received(b"x", generate("good", [1], max_tokens=2)),
        Received(b"x", generate("good", [1], max_tokens=2)),
    ]
    turns(loop, channel)
    failed = channel.of(b"x", Failed)
    assert [(f.id, f.code) for f in failed] == [("empty", "empty_prompt"), ("good", "duplicate_id")]
    assert len(outputs(channel, b"x")) == 2


def test_an_exception_while_taking_a_request_fails_that_request(
    channel: FakeChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_over(engine(), channel)
    monkeypatch.setattr(loop.engine, "add", lambda request: 1 / 0)
    channel.inbox = [Received(b"x", generate("a", [1]))]
    loop.turn(wait=False)
    assert [(f.id, f.code) for f in channel.of(b"x", Failed)] == [("a", "internal_error")]
    assert "ZeroDivision" not in channel.of(b"x", Failed)[0].message


def test_abort_is_acknowledged_and_nothing_follows(channel: FakeChannel) -> None:
    loop = loop_over(engine(), channel)
    channel.inbox = [Received(b"x", generate("a", [1], max_tokens=50))]
    loop.turn(wait=False)
    channel.inbox = [Received(b"x", Abort(["a", "unknown"]))]
    loop.turn(wait=False)
    before = len(outputs(channel, b"x"))
    loop.turn(wait=False)
    assert channel.of(b"x", Aborted) == [Aborted(["a", "unknown"])]
    assert len(outputs(channel, b"x")) == before
    assert not loop.engine.has_work


def test_a_server_that_is_gone_takes_its_requests_along(channel: FakeChannel) -> None:
    loop = loop_over(engine(), channel)
    channel.inbox = [Received(peer, generate("a", [1], max_tokens=9)) for peer in (b"x", b"y")]
    loop.turn(wait=False)
    channel.inbox = [Received(b"x", Gone())]
    turns(loop, channel)
    assert len(outputs(channel, b"x")) == 1
    assert len(outputs(channel, b"y")) == 9
    assert loop.engine.cache.available == 64


def test_a_message_that_cannot_be_written_harms_nobody(channel: FakeChannel) -> None:
    loop = loop_over(engine(), channel)
    channel.unwritable = Delta
    channel.inbox = [Received(b"x", generate("a", [1], max_tokens=3))]
    turns(loop, channel)
    assert not loop.engine.has_work


def test_idle_it_waits_for_ever_once_everybody_knows_how_things_stand(channel: FakeChannel) -> None:
    now = 100.0
    loop = EngineLoop(engine(), channel, clock=lambda: now)
    channel.inbox = [Received(b"x", generate("a", [1], max_tokens=3))]
    turns(loop, channel)
    assert set(channel.waits) == {0.0}
    channel.waits.clear()
    for _ in range(3):
        loop.turn()
        now += 1.0
    assert channel.waits[0] == 1.0
    assert channel.waits[-1] is None
    last = channel.of(b"y", Stats)[-1]
    assert (last.running, last.waiting, last.generated_tokens, last.pages_used) == (0, 0, 3, 0)
    assert (last.pages_total, last.prompt_tokens, last.epoch) == (64, 1, 7)


def test_memory_is_told_with_the_rest(channel: FakeChannel) -> None:
    now, held = 100.0, Memory(resident=5, device=9, device_used=7)
    loop = EngineLoop(engine(), channel, clock=lambda: now, memory=lambda: held)
    loop.turn(wait=False)
    told = channel.of(b"x", Stats)
    assert [(s.memory_bytes, s.device_memory_bytes, s.device_memory_used_bytes) for s in told] == [(5, 9, 7)]
    held = Memory(resident=6)
    now += 2
    loop.turn(wait=False)
    assert len(channel.of(b"x", Stats)) == 1, "memory alone is no news"


def test_a_new_server_is_told_how_things_stand(channel: FakeChannel) -> None:
    now = 100.0
    loop = EngineLoop(engine(), channel, clock=lambda: now)
    loop.turn(wait=False)
    channel.peers.append(b"z")
    now += 2
    loop.turn(wait=False)
    assert len(channel.of(b"z", Stats)) == 1


def test_sigterm_finishes_what_there_is_and_takes_nothing_new(channel: FakeChannel) -> None:
    loop = EngineLoop(engine(), channel, clock=lambda: 0.0)
    channel.inbox = [Received(b"x", generate("a", [1], max_tokens=40))]
    step, late = loop.engine.step, list[bool]()

    def told() -> list[tuple[bytes, Output | Failed]]:
        if len(outputs(channel, b"x")) == 1:
            signal.raise_signal(signal.SIGTERM)
        if channel.of(b"x", Drain) and not late:
            late.append(True)
            channel.inbox.append(Received(b"x", generate("late", [1])))
        return step()

    loop.engine.step = told  # type: ignore[method-assign]
    loop.run()
    assert len(outputs(channel, b"x")) == 40
    assert channel.of(b"x", Drain) == [Drain()]
    assert [(f.id, f.code) for f in channel.of(b"x", Failed)] == [("late", "draining")]


def test_a_second_signal_does_not_wait(channel: FakeChannel) -> None:
    loop = EngineLoop(engine(), channel, clock=lambda: 0.0)
    channel.inbox = [Received(b"x", generate("a", [1], max_tokens=40))]
    step = loop.engine.step

    def told_twice() -> list[tuple[bytes, Output | Failed]]:
        if len(outputs(channel, b"x")) == 1 or channel.of(b"x", Drain):
            signal.raise_signal(signal.SIGTERM)
        return step()

    loop.engine.step = told_twice  # type: ignore[method-assign]
    loop.run()
    assert channel.of(b"x", Drain) == [Drain()]
    assert len(outputs(channel, b"x")) == 3
    assert loop.engine.has_work


def test_a_signal_ends_an_idle_loop(channel: FakeChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = channel.poll

    def told(timeout: float | None = 0.0) -> list[Received]:
        if channel.waits.count(None) > 2:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("it goes on waiting")
        return poll(timeout)

    monkeypatch.setattr(channel, "poll", told)
    loop_over(engine(), channel).run()
    assert channel.of(b"x", Drain) == [Drain()]


def test_chores_are_done_while_nobody_asks_for_anything(channel: FakeChannel, caplog: pytest.LogCaptureFixture) -> None:
    loop, done = loop_over(engine(), channel), list[str]()
    loop.engine.chores.extend([lambda: done.append("a"), lambda: 1 // 0, lambda: done.append("b")])  # type: ignore[arg-type, list-item, return-value]
    channel.inbox.append(Received(b"x", generate("one", [1, 2], max_tokens=1)))
    loop.turn()
    assert not done
    assert channel.of(b"x", Delta)
    for _ in range(3):
        loop.turn()
    assert done == ["a", "b"]
    assert "left for later" in caplog.text
    assert set(channel.waits) == {0.0}
    loop.turn()
    assert channel.waits[-1] != 0.0
