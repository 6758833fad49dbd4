"""When everything is looked at for cycles: while nobody is served, or seldom."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref

import pytest

from rustinfer.server import garbage


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize(("busy", "longest", "goes"), [(False, 600.0, True), (True, 600.0, False), (True, 0.0, True)])
def test_cycles_go_while_nobody_is_served(
    monkeypatch: pytest.MonkeyPatch, busy: bool, longest: float, goes: bool
) -> None:
    monkeypatch.setattr(garbage, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(garbage, "LONGEST_SECONDS", longest)

    async def run() -> bool:
        gone = weakref.ref(Cycle())
        task = asyncio.create_task(garbage.tidy(lambda: busy))
        for _ in range(1000 if goes else 30):
            await asyncio.sleep(0.01)
            if gone() is None:
                break
        task.cancel()
        return gone() is None

    gc.disable()  # or Python finds it when it looks by itself
    try:
        assert asyncio.run(run()) is goes
    finally:
        gc.enable()


def test_what_is_there_at_the_start_is_not_looked_at() -> None:
    code = "import gc; from rustinfer.server import garbage; garbage.settle(); print(gc.get_freeze_count() > 10_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
