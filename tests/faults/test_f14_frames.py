"""Strangers on the engine's socket: F14, F15, F20, F27."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from rustinfer.protocol.bans import TOLERATED
from rustinfer.protocol.codec import TO_SERVER, decode, encode
from rustinfer.protocol.messages import VERSION, Abort, Aborted, Delta, Failed, Generate, Hello, Message, Ping, Pong
from rustinfer.protocol.sampling import SamplingParams
from tests.conftest import Saw
from tests.protocol.ends import Dealer

from .conftest import World
from .world import PATIENCE, Engine, Server, wait_for


class Stranger(Dealer):
    """A bare socket that can also listen."""

    def hello(self) -> None:
        self.send(Hello(VERSION, "stranger", "stranger"))

    def read(self, seconds: float = 1.0, most: int = 10**6) -> list[Message]:
        """What comes within so long, or the first of it."""
        found: list[Message] = []
        end = time.monotonic() + seconds
        while len(found) < most and (left := end - time.monotonic()) > 0 and self.socket.poll(left * 1000):
            found.append(decode(self.socket.recv_multipart(), TO_SERVER))
        return found

    def until(self, condition: Callable[[list[Message]], object]) -> list[Message]:
        """What comes until that holds."""
        found: list[Message] = []
        wait_for(lambda: condition(found) or found.extend(self.read(0.1, 1)))
        return found


@pytest.fixture
def stranger(world: World) -> Iterator[Stranger]:
    made = Stranger(world.engine.address)
    yield made
    made.close()


def generate(name: str, tokens: int = 8, n: int = 1) -> Generate:
    return Generate(name, [98, 99, 100], SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, n=n))


VERSION_BYTE = bytes([VERSION])
MALFORMED = {
    "random bytes": [
        [random.Random(n).randbytes(n % 50), b"generate", random.Random(n).randbytes(n)] for n in range(99)
    ],
    "too few or many frames": [[b""], [VERSION_BYTE, b"hello"], [b"x"] * 40],
    "truncated": [[*encode(generate("a"))[:2], encode(generate("a"))[2][:-cut]] for cut in range(1, 9)],
    "an array of 4 billion": [[VERSION_BYTE, b"generate", b"\xdd\xff\xff\xff\xff"]],
    "a string of 4 billion": [[VERSION_BYTE, b"hello", b"\xdb\xff\xff\xff\xff"]],
    "depth 100,000": [[VERSION_BYTE, b"abort", b"\x91" * 100_000]],
    "extension types": [[VERSION_BYTE, b"generate", b"\xc7\x05\x01aaaaa"]],
    "another version": [[b"\x63", *encode(generate("a"))[1:]]],
    "an unknown kind": [[VERSION_BYTE, b"shutdown", b"\x90"]],
    "the server's kinds": [encode(Aborted(["a"])), encode(Failed("a", "b", "c"))],
    "pickles": [[pickle.dumps(print)], [VERSION_BYTE, b"generate", pickle.dumps(print)]],
    "before hello": [encode(generate("early")), encode(Abort(["early"]))],
}


def test_f14_malformed(world: World, saw: Saw) -> None:
    """Frames on the engine's socket that are no message."""
    errors, sent = world.server.metrics()["engine_protocol_errors"], 0
    for name, many in MALFORMED.items():
        for at in range(0, len(many), TOLERATED - 1):
            stranger = Stranger(world.engine.address)
            for frames in many[at : at + TOLERATED - 1]:
                stranger.send(frames)
            stranger.send(Ping(5))
            assert stranger.read(PATIENCE, 1), name  # it is heard still
            stranger.close()
        sent += len(many)
        started = time.monotonic()
        assert world.server.golden() == world.golden
        saw(f"{name}: the servers' requests noticed nothing", time.monotonic() - started)
    wait_for(lambda: world.server.metrics()["engine_protocol_errors"] >= errors + sent)
    saw(f"each of the {sent} was counted and dropped", None)


def test_f14_who_goes_on(slow_engine: Engine, slow_pair: Server, saw: Saw) -> None:
    """A stranger with requests of its own sends a hundred frames that are no message."""
    errors, stranger = slow_pair.metrics()["engine_protocol_errors"], Stranger(slow_engine.address)
    stranger.hello()
    for number in range(40):
        stranger.send(generate(str(number), 1500))
    stranger.until(lambda found: any(isinstance(message, Delta) for message in found))
    for _ in range(100):
        stranger.send([b"noise"])
    counted = wait_for(lambda: slow_pair.metrics()["engine_protocol_errors"] >= errors + 100, "all counted")
    wait_for(slow_pair.quiet, "the end of its requests")
    left = [output for message in stranger.read(0.1) if isinstance(message, Delta) for output in message.outputs]
    assert not any(output.finish_reason for output in left)
    stranger.send(Ping(1))
    assert not [message for message in stranger.read(0.5) if isinstance(message, Pong) and message.nonce]
    assert "not heard any more" in slow_engine.log.read_text()
    stranger.close()
    saw("its requests were aborted and it is not heard any more; each frame was counted", counted)


def test_f14_a_gigabyte(world: World, stranger: Stranger, saw: Saw) -> None:
    """A frame larger than the largest message."""
    before = world.engine.usage().kilobytes
    stranger.socket.send_multipart([VERSION_BYTE, b"hello", bytes(300 << 20)], copy=False)
    started = time.monotonic()
    assert world.server.golden() == world.golden
    assert world.engine.usage().kilobytes - before < 100 << 10
    saw("the connection was dropped; the known answer", time.monotonic() - started)


def test_f14_another_servers_name_buys_nothing(world: World, saw: Saw) -> None:
    """A stranger greets under the server's name and aborts requests by guessed ids."""
    thief = Stranger(world.engine.address)
    thief.socket.setsockopt(zmq.IDENTITY, b"server")
    thief.hello()
    thief.send(Abort([f"{n:x}" for n in range(5000)]))
    assert world.server.golden() == world.golden
    thief.until(lambda found: any(isinstance(message, Aborted) for message in found))
    thief.close()
    saw("its own (no) requests were aborted, nobody else's", None)


def test_f15_t5_a_peer_that_never_reads(world: World, saw: Saw) -> None:
    """A peer asks for 8 x 1500 tokens and reads nothing."""
    deaf = Stranger(world.engine.address)
    deaf.socket.setsockopt(zmq.RCVHWM, 1)
    deaf.hello()
    for number in range(8):
        deaf.send(generate(str(number), 1500))
    started = time.monotonic()
    assert world.server.golden() == world.golden
    saw("a server's request beside it got the known answer", time.monotonic() - started)
    deaf.close()


def test_f27_aborts(world: World, stranger: Stranger, saw: Saw) -> None:
    """Aborts of unknown ids, twice, after the end, and at every step of a request."""
    stranger.hello()
    stranger.send(Abort(["unknown"] * 50))
    finals: dict[str, int] = {}
    for number in range(60):
        stranger.send(generate(f"r{number}", 6))
        time.sleep(0.0005 * (number % 8))
        stranger.send(Abort([f"r{number}"]))
        stranger.send(Abort([f"r{number}"]))
    for message in stranger.read(1.5):
        for output in message.outputs if isinstance(message, Delta) else ():
            finals[output.id] = finals.get(output.id, 0) + (output.finish_reason is not None)
    assert all(count <= 1 for count in finals.values())
    saw("each acknowledged; never more than one last frame", None)


def test_f14_the_same_id_twice(slow_engine: Engine, saw: Saw) -> None:
    """Two requests with one id, and both played again."""
    stranger = Stranger(slow_engine.address)
    stranger.hello()
    for _ in range(3):
        stranger.send(generate("same", 1500))
    stranger.send(Abort(["same"]))
    found = stranger.until(lambda found: any(isinstance(message, Aborted) for message in found))
    assert [message.code for message in found if isinstance(message, Failed)] == ["duplicate_id"] * 2
    stranger.close()
    saw("the second and third: `duplicate_id`", None)


def test_f20_any_order(world: World, saw: Saw) -> None:
    """600 random messages in random order: requests, aborts, greetings, pings, noise."""
    luck = random.Random(20)
    peers = [Stranger(world.engine.address) for _ in range(3)]
    for peer in peers:
        peer.hello()
    asked: set[tuple[int, str]] = set()
    offences = [0, 0, 0]
    ended: dict[tuple[int, str], int] = {}
    for _ in range(600):
        at, name = luck.randrange(3), f"{luck.randrange(80)}"
        peer, kind = peers[at], luck.randrange(8)
        if kind < 4:
            peer.send(generate(name, luck.randrange(1, 12)))
            asked.add((at, name))
        elif kind < 6:
            peer.send(Abort([name]))
        elif kind == 6:
            noise = [luck.randbytes(luck.randrange(30)) for _ in range(luck.randrange(1, 5))]
            if offences[at] < TOLERATED - 1:
                peer.send(noise)
            offences[at] += 1
        else:
            luck.choice([peer.hello, lambda p=peer: p.send(Ping(1))])()
    for at, peer in enumerate(peers):
        for message in peer.read(PATIENCE, 1) + peer.read(1.5):
            for output in message.outputs if isinstance(message, Delta) else ():
                assert (at, output.id) in asked
                ended[at, output.id] = ended.get((at, output.id), 0) + (output.finish_reason is not None)
        peer.close()
    assert ended
    saw("no output without a request, and the servers' requests noticed nothing", None)
