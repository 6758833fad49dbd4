"""An engine and the servers before it, each a process, and what one can tell of them from the outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .model import NAME

GOLDEN = {"model": NAME, "prompt": "abc", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
LONG = {**GOLDEN, "max_tokens": 1500}
LONGER = {**LONG, "n": 16, "temperature": 1}
"""For who must still be there when something else was asked: one of `LONG` is over in a quarter of a second."""


PATIENCE = 100.0
"""Seconds for what is a matter of moments on an idle machine, and takes for ever where it goes wrong."""


def wait_for(condition: Callable[[], object], what: str = "it") -> float:
    """Seconds until the condition held; fails where it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < PATIENCE, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.005)
    return time.monotonic() - started


class Process:
    """One of ours, with its log in a file."""

    def __init__(self, log: Path, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("w") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def said(self, text: str) -> bool:
        assert self.alive or text in self.log.read_text(), f"it ended:\n{self.log.read_text()}"
        return text in self.log.read_text()

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        if self.alive:
            self.popen.kill()
        self.popen.wait()

    def usage(self) -> Usage:
        return usage(self.pid)


@dataclass(frozen=True)
class Usage:
    """What a process holds: open descriptors, threads, and kilobytes of memory."""

    files: int
    threads: int
    kilobytes: int


def usage(pid: int) -> Usage:
    status = Path(f"/proc/{pid}/status").read_text()
    threads, kilobytes = (int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("Threads", "VmRSS"))  # type: ignore[index]
    return Usage(len(list(Path(f"/proc/{pid}/fd").iterdir())), threads, kilobytes)


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Engine(Process):
    """`rustinfer-engine` of the tiny model, at an address of its own."""

    def __init__(self, folder: Path, model: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.address = f"ipc://{folder}/sock/engine"
        sizes = ("--threads=1", "--kv-cache-tokens=8192", "--max-num-seqs=64", f"--served-model-name={NAME}")
        command = ("-m", "rustinfer.engine.main", str(model), "--endpoint", self.address, *sizes, *flags)
        super().__init__(folder / "engine.log", *command, env=env)

    def wait_ready(self) -> Engine:
        wait_for(lambda: self.said("ready in"), "a ready engine")
        return self


class Server(Process):
    """`rustinfer-server` before an engine."""

    def __init__(
        self, folder: Path, address: str, *flags: str, env: Mapping[str, str] | None = None, run: str | None = None
    ) -> None:
        count = len(list(folder.glob("server*.log")))
        start = ("-m", "rustinfer.server.main") if run is None else ("-c", run)
        super().__init__(folder / f"server{count}.log", *start, "--engine", address, "--port", "0", *flags, env=env)
        self.url = ""

    def wait_ready(self) -> Server:
        wait_for(lambda: self.said("Ready: "), "a ready server")
        self.url = re.search(r"Ready: (\S+)", self.log.read_text())[1]  # type: ignore[index]
        return self

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def post(self, body: Any, path: str = "/v1/completions", **more: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, **{"timeout": PATIENCE, **more})

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE, headers=headers)

    def golden(self) -> str:
        """The text that the model gives to `GOLDEN`."""
        answer = self.post(GOLDEN)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["text"])

    def metrics(self, headers: Mapping[str, str] | None = None) -> dict[str, float]:
        text = self.get("/metrics", headers).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name.removeprefix("rustinfer_"): float(value) for name, value in lines}

    def quiet(self) -> bool:
        """Nothing runs, nothing waits, every page is free."""
        now = self.metrics()
        names = ("requests_active", "requests_running", "requests_waiting", "cache_pages_used")
        return not any(now[name] for name in names)
