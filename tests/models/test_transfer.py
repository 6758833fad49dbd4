"""Reading tensors ahead, many at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rustinfer.models import transfer
from rustinfer.models.errors import CheckpointError
from rustinfer.models.shards import Shards
from rustinfer.models.transfer import Place, Transfer

CPU = torch.device("cpu")


def test_every_byte_arrives_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PIECE", 1000)
    data = torch.randint(0, 256, (40_000,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (tmp_path / "file").write_bytes(bytes(data.tolist()))
    sizes = [0, 1, 999, 1000, 1001, 7000, 20_000]
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    places = {f"{i}": Place(tmp_path / "file", starts[i], size) for i, size in enumerate(sizes)}
    ahead = Transfer(places, CPU, threads=3)
    for i, size in reversed(list(enumerate(sizes))):
        assert torch.equal(ahead.take(f"{i}"), data[starts[i] : starts[i] + size])
    assert "0" not in ahead
    with pytest.raises(KeyError):
        ahead.take("0")


def test_a_file_that_became_shorter_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    ahead = Transfer({"a": Place(tmp_path / "file", 0, 9)}, CPU)
    with pytest.raises(CheckpointError, match="file: the file ends before its last tensor"):
        ahead.take("a")


def test_what_nobody_takes_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    ahead = Transfer({f"{i}": Place(tmp_path / "file", i, 1) for i in range(100)}, CPU, threads=1)
    ahead.take("3")
    ahead.close()
    ahead.close()
    assert "4" not in ahead


def test_shards_read_ahead_are_the_same(tmp_path: Path) -> None:
    weights = {"a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.arange(4)}
    save_file(weights, tmp_path / "model.safetensors")
    shards = Shards(tmp_path).to(torch.float32, CPU)
    plain = {name: shards[name] for name in shards}
    shards._ahead = Transfer({name: shards._homes[name].place(name) for name in shards}, CPU)
    for _ in range(2):  # the second time they are read by themselves
        assert all(torch.equal(shards[name], plain[name]) for name in weights)
