"""Bytes of a checkpoint's header are changed, and its end is cut: it works, or says in one line why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustinfer.errors import UserError
from rustinfer.models.directory import open_directory
from rustinfer.models.gguf_checkpoint import open_gguf

from . import directories, ggufs

CPU = torch.device("cpu")
VALUES = st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), VALUES), min_size=1, max_size=4)
FUZZ = settings(max_examples=150, suppress_health_check=list(HealthCheck))


def flipped(data: bytes, flips: list[tuple[float, int]], head: int, cut: int) -> bytes:
    broken = bytearray(data)
    for place, value in flips:
        broken[int(place * head)] = value
    return bytes(broken[: len(broken) - cut])


def only_a_line(open_it: Callable[[], object]) -> None:
    """It works, or says why not in one line. Any other exception goes on."""
    try:
        open_it()
    except UserError as error:
        if "\n" in str(error):
            raise


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    path = ggufs.write(tmp_path_factory.mktemp("gguf") / "m.gguf", "Q4_1")
    return path.read_bytes(), int(gguf.GGUFReader(path).data_offset)


@FUZZ
@given(flips=FLIPS, cut=st.sampled_from([0, 0, 0, 1, 1000]))
def test_flipped_bytes_of_a_gguf_header(
    gguf_bytes: tuple[bytes, int], tmp_path: Path, flips: list[tuple[float, int]], cut: int
) -> None:
    path = tmp_path / "flipped.gguf"
    path.write_bytes(flipped(gguf_bytes[0], flips, gguf_bytes[1], cut))
    only_a_line(lambda: dict(open_gguf(path, "m", "auto", CPU).weights))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (directories.write(tmp_path_factory.mktemp("whole")) / "model.safetensors").read_bytes()


@FUZZ
@given(flips=FLIPS, cut=st.sampled_from([0, 0, 0, 1, 1000]))
def test_flipped_bytes_of_a_safetensors_header(
    whole: bytes, tmp_path: Path, flips: list[tuple[float, int]], cut: int
) -> None:
    if not (tmp_path / "config.json").exists():
        directories.write(tmp_path)
    head = 8 + int.from_bytes(whole[:8], "little")
    (tmp_path / "model.safetensors").write_bytes(flipped(whole, flips, head, cut))
    only_a_line(lambda: dict(open_directory(tmp_path, "m", "auto", CPU).weights))
