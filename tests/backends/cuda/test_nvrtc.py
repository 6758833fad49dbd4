"""Every CUDA source compiles without a GPU, for every shape and architecture that it is meant for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rustinfer.backends.cuda import nvrtc
from rustinfer.backends.cuda.plan import SHARED, Plan

SHAPES = {
    "1b": (2048, 8192, 32, 8, 64, 16, 128256),
    "3b": (3072, 8192, 24, 8, 128, 28, 128256),
    "8b": (4096, 14336, 32, 8, 128, 32, 128256),
    "smollm2": (576, 1536, 9, 3, 64, 30, 49152),
}


def plan(name: str, rows: int, blocks: int = 132, bits: int = 16, head_bits: int = 16) -> Plan:
    """The plan for a known model."""
    return Plan(*SHAPES[name], 16, rows, blocks, bits, head_bits, head_bits)


@pytest.mark.parametrize(
    ("name", "rows", "bits", "head_bits"),
    [("1b", 1, 16, 16), ("3b", 2, 8, 8), ("8b", 1, 4, 8), ("smollm2", 4, 16, 16), ("1b", 8, 16, 16)],
)
def test_decode_compiles_for_hopper_and_hardly_spills(name: str, rows: int, bits: int, head_bits: int) -> None:
    made = nvrtc.compile_source("decode.cu", plan(name, rows, bits=bits, head_bits=head_bits).defines, (9, 0))
    assert made.code[:4] == b"\x7fELF"
    spilled = re.search(r"(\d+) bytes spill stores", made.log)
    assert spilled, made.log
    assert int(spilled[1]) <= 100  # outside of the loop over tiles: there it would be many times that


def test_decode_compiles_for_blackwell() -> None:
    assert nvrtc.compile_source("decode.cu", plan("1b", 1, 148).defines, (10, 0)).code[:4] == b"\x7fELF"


@pytest.mark.parametrize("source", sorted(path.name for path in nvrtc.SOURCES.glob("*.cu")))
def test_older_chips_are_refused_in_words(source: str) -> None:
    with pytest.raises(nvrtc.CompileError, match=r"needs compute capability 9\.0"):
        nvrtc.compile_source(source, {}, (8, 0))  # before any constant is looked at


def test_a_second_start_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path))
    first = nvrtc.compiled("decode.cu", plan("smollm2", 1).defines, (9, 0))
    monkeypatch.setattr(nvrtc, "compile_source", None)
    assert nvrtc.compiled("decode.cu", plan("smollm2", 1).defines, (9, 0)).code == first.code


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rows", [1, 2, 4, 8])
@pytest.mark.parametrize("blocks", [78, 114, 132, 148])
@pytest.mark.parametrize(("bits", "head_bits"), [(16, 16), (8, 8), (4, 8)])
def test_plans_fit_into_a_multiprocessor(name: str, rows: int, blocks: int, bits: int, head_bits: int) -> None:
    made = plan(name, rows, blocks, bits, head_bits)
    assert made.refusal() is None or (name, bits) == ("smollm2", 4)  # its width has no whole copies of scales
    if made.refusal():
        return
    assert made.shared <= SHARED
    assert made.defines["AHEAD"] < made.slots
    assert all(
        columns % size == 0 for columns, size in zip((made.width, made.mixed, made.hidden), made.chunks, strict=True)
    )
