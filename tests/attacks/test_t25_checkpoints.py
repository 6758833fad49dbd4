"""Checkpoints that lie about themselves: the readers' own cases in one go, and then by the engine. T25, T32, T34."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from tests.conftest import Saw
from tests.faults.world import PATIENCE, Process, usage
from tests.models import test_gguf, test_safetensors


def test_t25_t32_gguf(tmp_path: Path, saw: Saw) -> None:
    """GGUF files whose counts, sizes, names, types and offsets lie, or that are cut."""

    before, slowest = usage(os.getpid()).kilobytes, 0.0
    for case in test_gguf.CORRUPT:
        started = time.monotonic()
        test_gguf.test_a_corrupt_file_is_one_line_that_names_it(tmp_path, case)
        slowest = max(slowest, time.monotonic() - started)
    test_gguf.test_a_file_cut_anywhere_is_refused(tmp_path)
    assert (usage(os.getpid()).kilobytes - before) / 1024 < 50
    saw(f"each of {len(test_gguf.CORRUPT)}: one line that names the file, nothing allocated by what it claims", slowest)


def test_t34_safetensors(tmp_path: Path, saw: Saw) -> None:
    """Safetensors whose header, shapes, dtypes, names and offsets lie, or that are cut."""
    slowest = 0.0
    for case in test_safetensors.BROKEN:
        started = time.monotonic()
        test_safetensors.test_a_broken_file_is_one_line_that_names_it(tmp_path, case)
        slowest = max(slowest, time.monotonic() - started)
    test_safetensors.test_a_file_cut_anywhere_is_refused(tmp_path)
    saw(f"each of {len(test_safetensors.BROKEN)}: one line that names the file and the tensor", slowest)


def test_f19_t34_the_engine_says_so_and_ends(model: Path, tmp_path: Path, saw: Saw) -> None:
    """An engine for a checkpoint that is cut, lacks a tensor, points out of its folder, or is not there."""
    cut = shutil.copytree(model, tmp_path / "cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[:-1])
    away = shutil.copytree(model, tmp_path / "away")
    (away / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    (away / "model.safetensors.index.json").write_text(json.dumps(index))
    for path in (cut, away, tmp_path / "none"):
        engine = Process(tmp_path / "log", "-m", "rustinfer.engine.main", str(path))
        assert engine.popen.wait(PATIENCE) in (2, 3)
        lines = [line for line in engine.log.read_text().splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert path.name in lines[0]
        assert "Traceback" not in engine.log.read_text()
    saw("one line that names the file, exit code 2 or 3", None)
