"""`rustinfer-engine` as a process, spoken to over its socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from rustinfer.protocol.codec import TO_SERVER, decode, encode
from rustinfer.protocol.messages import (
    VERSION,
    Abort,
    Aborted,
    Delta,
    Failed,
    Generate,
    Hello,
    Message,
    Ping,
    Stats,
    Welcome,
)
from rustinfer.protocol.sampling import SamplingParams

from .tiny import save


class Process:
    """An engine process and what it wrote."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.address = f"ipc://{directory}/sock/engine"
        self.log = directory / "log"
        command = [sys.executable, "-m", "rustinfer.engine.main", *flags, "--endpoint", self.address, "--threads=1"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)

    def wait(self, seconds: float = 300) -> int:
        return self.process.wait(seconds)

    def cpu_seconds_in(self, seconds: float) -> float:
        before = self.cpu_seconds()
        time.sleep(seconds)
        return self.cpu_seconds() - before

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """A server, as the engine sees it."""

    def __init__(self, address: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self.send(Hello(VERSION, "test", "test"))

    def send(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def read(self, *kinds: type, seconds: float = 300) -> Any:
        """The next message of these kinds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.socket.poll(100):
                message = decode(self.socket.recv_multipart(), TO_SERVER)
                if isinstance(message, kinds):
                    return message
            else:
                self.send(Ping(1))  # who says nothing for ten seconds is given up, and a slow step may take that long
        raise AssertionError(f"no {kinds} within {seconds} s")

    def tokens(self, name: str) -> list[int]:
        """Everything that one request says, to its end."""
        found: list[int] = []
        while True:
            for output in self.read(Delta).outputs:
                if output.id == name:
                    found += output.token_ids
                    if output.finish_reason:
                        return found


def generate(name: str, prompt: list[int], tokens: int = 8) -> Generate:
    return Generate(name, prompt, SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(model: Path, tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path, str(model), "--served-model-name=little")
    yield made
    made.process.kill()
    made.process.wait()


def test_a_life(engine: Process) -> None:
    one, two = Client(engine.address), Client(engine.address)
    welcome = one.read(Welcome)
    assert (welcome.card.id, welcome.card.vocab_size, welcome.card.context) == ("little", 257, 256)
    assert welcome.card.ops
    assert two.read(Welcome).epoch == welcome.epoch
    one.send(generate("a", [1, 2, 3]))
    two.send(generate("a", [9, 8, 7]))
    said = one.tokens("a"), two.tokens("a")
    assert [len(s) for s in said] == [8, 8]
    assert said[0] != said[1]

    one.send(generate("bad", [999]))
    assert one.read(Failed).code == "out_of_vocabulary"
    one.send(generate("long", [1], 250))
    one.read(Delta)
    one.send(Abort(["long"]))
    assert one.read(Aborted).ids == ["long"]

    # A server that vanishes: its request stops, and the pages come back.
    two.read(Welcome, Stats)
    two.send(generate("orphan", [1], 250))
    two.read(Delta)
    two.socket.close()
    deadline = time.monotonic() + 300
    while (stats := one.read(Stats)).running or stats.pages_used:
        assert time.monotonic() < deadline
    one.send(generate("again", [1, 2, 3]))
    assert one.tokens("again") == said[0]

    # Garbage is counted, and harms nobody.
    one.socket.send_multipart([b"garbage", b"x"])
    one.send(generate("after", [1, 2, 3]))
    assert one.tokens("after") == said[0]

    one.socket.close()
    assert any(engine.cpu_seconds_in(2) < 0.1 for _ in range(20)), "alone it does not come to rest"
    engine.process.send_signal(signal.SIGTERM)
    assert engine.wait() == 0
    assert "ready in" in engine.log.read_text()
    assert "warm-up" in engine.log.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["no-such-model"], "no-such-model"),
        (["MODEL", "--prefer=nobody"], "nobody"),
        (["MODEL", "--pin=rms_norm"], "write OP=BACKEND"),
        (["MODEL", "--max-model-len=9999"], "more than the model's context of 256"),
        (["MODEL", "--kv-cache-tokens=999999999999"], "MiB are free"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(model: Path, tmp_path: Path, flags: list[str], message: str) -> None:
    made = Process(tmp_path, *(str(model) if flag == "MODEL" else flag for flag in flags))
    assert made.wait() == 2
    written = made.log.read_text()
    assert "Traceback" not in written
    assert message in next(line for line in written.splitlines() if line.startswith("error: "))


def test_two_engines_on_one_address(engine: Process, model: Path, tmp_path: Path) -> None:
    Client(engine.address).read(Welcome)
    second = Process(tmp_path, str(model))
    assert second.wait() == 2
    assert "already serves" in second.log.read_text()
    assert engine.process.poll() is None
