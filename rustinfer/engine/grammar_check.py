"""The engine's end of a process that tries grammars out."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from typing import Any
from weakref import finalize

from ..protocol.structured import Structured
from .guidance import GrammarError

START_SECONDS = 60.0
SECONDS = 2.0
"""Processor time that one grammar may take, to the next second."""
PATIENCE = 5.0
"""How long one may take by the clock: the process gives way to the engine's, and a machine may be busy."""

ALONE = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
MEMORY = 256 << 20
"""Bytes that one grammar may take."""


class GrammarCheck:
    """Starts its process at the first grammar, and a new one after it had to be killed. For one thread."""

    def __init__(
        self, setup: dict[str, Any], seconds: float = SECONDS, memory: int = MEMORY, patience: float = PATIENCE
    ) -> None:
        self._setup, self._patience = {**setup, "memory": memory, "seconds": seconds}, patience
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, form: Structured) -> tuple[str, int]:
        """The grammar as llguidance writes it, and the bytes that it takes. Raises GrammarError."""
        process = self._process or self._start()
        said = self._ask(process, {"kind": form.kind, "text": form.text}, self._patience)
        if said is None:
            self.close()
            raise GrammarError(
                "grammar_too_complex",
                f"the {form.kind} is too complex: it takes more than {self._setup['seconds']:g} s or too much memory",
            )
        if "error" in said:
            raise GrammarError(said["code"], said["error"])
        return said["grammar"], said["bytes"]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        # A session of its own: an interrupt from the terminal is the engine's business.
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "rustinfer.engine.grammar_worker"],
            text=True,
            start_new_session=True,
            env={**os.environ, **ALONE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        finalize(self, _end, process)
        if self._ask(process, self._setup, START_SECONDS) is None:
            self.close()
            raise GrammarError("grammar_unavailable", "structured output is not available: its process does not start")
        return process

    def _ask(self, process: subprocess.Popen[str], question: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """The answer; None where the process died or did not answer in time."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            line = process.stdout.readline() if ready else ""
        except OSError:
            return None
        answer: dict[str, Any] | None = json.loads(line) if line.endswith("\n") else None
        return answer


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
