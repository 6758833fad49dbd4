"""Whole decode steps with products as timing chose them and as torch does, in turns.

`python -m benchmarks.gpu.chosen --model llama-3.2-1b --rows 128,256 --out FILE`. Choices are made anew, twice, and not
kept. Of each: the algorithms by their settings, and the median and quartiles of the step in microseconds.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from contextlib import ExitStack
from ctypes import byref, c_size_t, c_uint32, c_void_p
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

import torch

from rustinfer.backends.cublas import shares, timed
from rustinfer.backends.cublas.choice import TORCH, Choices
from rustinfer.backends.cublas.lt import Algorithm, library
from rustinfer.backends.cublas.race import Record, raced
from rustinfer.cli.facts import save

from .composed import Composed

CONTEXT, ROUNDS, STEPS = 576, 11, 8
SETTINGS = {1: "tile", 2: "shares", 6: "stages", 8: "cluster"}


class Torch(Choices):
    """Knows of every product that torch's own choice is the best."""

    def get(self, key: str) -> str | None:
        return TORCH


def settings(kept: str) -> dict[str, int] | str:
    """The library's numbers for what an algorithm does."""
    if kept == TORCH:
        return "torch's"
    asked = library().cublasLtMatmulAlgoConfigGetAttribute
    asked.argtypes = [c_void_p, ctypes.c_int, c_void_p, c_size_t, c_void_p]
    algorithm, value = Algorithm.from_buffer_copy(bytes.fromhex(kept)), c_uint32()
    found = {}
    for number, name in SETTINGS.items():
        asked(byref(algorithm), number, byref(value), 2 if name == "cluster" else 4, byref(c_size_t()))
        found[name] = value.value & 0xFFFF
    return found


@torch.inference_mode()
def compare(name: str, rows: int) -> dict[str, Any]:
    """One number of rows."""
    composed, records, told = Composed(name, rows, CONTEXT), {}, {}
    for label, kind in (("torch", Torch), ("timed", Choices), ("timed again", Choices)):
        known = kind(Path(mkdtemp()) / "choices.json")
        with ExitStack() as stack:
            for module in (timed, shares):
                stack.enter_context(mock.patch.object(module, "choices", lambda known=known: known))
            run = composed.bound("triton", "cublas")
        records[label] = Record([run] * STEPS)
        kept = json.loads(known.path.read_text()) if known.path.exists() else {}
        told[label] = {key: settings(value) for key, value in kept.items()}
    times = raced(records, ROUNDS)
    return {
        label: {"step, us": [round(took[ROUNDS * part // 4] / STEPS, 1) for part in (2, 1, 3)], "products": told[label]}
        for label, took in times.items()
    }


def main() -> None:
    """Print each number of rows, and keep all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", default="llama-3.2-1b")
    parser.add_argument("--rows", default="128,256")
    asked = parser.parse_args()
    report = dict[str, Any](model=asked.model)
    for rows in map(int, asked.rows.split(",")):
        report[f"{rows} rows"] = row = compare(asked.model, rows)
        print(rows, json.dumps(row, indent=1), flush=True)
    save(asked.out, report)


if __name__ == "__main__":
    main()
