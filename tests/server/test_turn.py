"""Servers that share a socket take turns: by a lock, which the kernel hands on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rustinfer.errors import UserError
from rustinfer.server.turn import Turn

HOLDER = """
import asyncio, sys
from pathlib import Path
from rustinfer.server.turn import Turn

async def hold():
    await Turn(Path(sys.argv[1])).wait()
    print("mine", flush=True)
    await asyncio.sleep(60)

asyncio.run(hold())
"""


def test_without_a_file_it_is_ours() -> None:
    async def run() -> None:
        await asyncio.wait_for(Turn().wait(), 20)

    asyncio.run(run())


def test_one_after_the_other(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
        await asyncio.wait([asyncio.ensure_future(t.wait()) for t in (first, second)], return_when="FIRST_COMPLETED")
        mine, other = (first, second) if first._came.is_set() else (second, first)
        await asyncio.sleep(0.1)
        assert not other._came.is_set()
        mine.give_up()
        mine.give_up()
        await asyncio.wait_for(other.wait(), 20)

    asyncio.run(run())


def test_a_process_that_is_killed_hands_on_its_turn(tmp_path: Path) -> None:
    file = tmp_path / "turn"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"

        async def run() -> None:
            turn = Turn(file)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(turn.wait(), 0.2)
            holder.kill()
            await asyncio.wait_for(turn.wait(), 20)

        asyncio.run(run())


def test_who_stops_waiting_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = Turn(tmp_path / "turn"), Turn(tmp_path / "turn")
        first.stop_waiting()
        second.stop_waiting()
        await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), 20)
        first.give_up()
        second.give_up()

    asyncio.run(run())


def test_who_gave_up_before_its_thread_began_takes_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Callable[[], None]] = []

    class Late(threading.Thread):
        def start(self) -> None:
            begun.append(self.run)

    async def run() -> None:
        monkeypatch.setattr(threading, "Thread", Late)
        stopped = Turn(tmp_path / "turn")
        stopped.stop_waiting()
        stopped.give_up()
        monkeypatch.undo()
        (late,) = begun
        late()
        await asyncio.wait_for(Turn(tmp_path / "turn").wait(), 20)

    asyncio.run(run())


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        Turn(tmp_path / "none" / "turn")
