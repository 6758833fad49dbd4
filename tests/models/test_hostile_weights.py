"""Weights made to do harm, at the command line: T25, T32, T34, F19.

Each ends in one line that names the file, with exit code 3, soon, and in little memory.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rustinfer.cli import main as cli

from . import ggufs
from .hostile import refused
from .test_gguf import CORRUPT, array, fields, header, string, tensor
from .test_safetensors import BROKEN
from .test_safetensors import write as write_safetensors

ALIGNED = string(b"general.alignment") + struct.pack("<I", 4)
MORE_GGUF: dict[str, bytes] = {
    **{f"alignment {n}": header(tensors=1, fields=1, rest=ALIGNED + struct.pack("<I", n) + tensor() + bytes(500))
       for n in (3, 4, 24, (1 << 32) - 1)},
    "alignment of a text": header(tensors=1, fields=1,
                                  rest=string(b"general.alignment") + struct.pack("<I", 8) + string(b"32")),
    "a field twice": header(fields=2, rest=2 * (string(b"k") + struct.pack("<IB", 0, 1))),
    "a token of 2**63": fields(string(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2)
                               + string(b"a") + string(b"b", 1 << 63)),
    "a token past the end by one": fields(array(8, 1, string(b"abc", 4))),
    "product of 2**160": header(tensors=1, rest=tensor(dims=(1 << 40,) * 4) + bytes(500)),
    "product that wraps to 32": header(tensors=1, rest=tensor(dims=((1 << 34) + 1, 1 << 30)) + bytes(500)),
    "offset that wraps": header(tensors=1, rest=tensor(offset=(1 << 64) - 32) + bytes(500)),
    "a thousand dimensions": header(tensors=1, rest=tensor(count=1000) + bytes(9000)),
    "negative array type": fields(array((1 << 32) - 1, 1, bytes(8))),
    "more fields than there may be": header(fields=1 << 17, rest=bytes(13 << 17)),
}  # fmt: skip
SPARSE: dict[str, bytes] = {
    "bytes": fields(array(0, 1 << 36)),
    "texts": fields(array(8, 1 << 33)),
    "fields": header(fields=1 << 33),
    "tensors": header(tensors=1 << 32),
}


@pytest.mark.parametrize("case", [*CORRUPT, *MORE_GGUF])
def test_gguf(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(CORRUPT[case][0] if case in CORRUPT else MORE_GGUF[case])
    refused(path, capsys, str(path))


@pytest.mark.parametrize("case", SPARSE)
def test_a_gguf_whose_size_costs_its_maker_nothing(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    path = tmp_path / "sparse.gguf"
    path.write_bytes(SPARSE[case])
    os.truncate(path, 1 << 38)
    refused(path, capsys, "claims")


VOCABULARY: dict[str, dict[str, Any]] = {
    "no tokens": {"tokenizer.ggml.tokens": [1, 2]},
    "types of another length": {"tokenizer.ggml.token_type": [1]},
    "merges of three": {"tokenizer.ggml.merges": ["a b c"]},
    "merges of strangers": {"tokenizer.ggml.merges": ["stranger other"]},
    "bos out of range": {"tokenizer.ggml.bos_token_id": 1 << 30, "tokenizer.ggml.add_bos_token": True},
    "template that is not one": {"tokenizer.chat_template": "{% for %}"},
    "unknown model": {"tokenizer.ggml.model": "x" * 5000},
    "pre-tokenizer of several": {"tokenizer.ggml.pre": ["smollm", "gpt-2"]},
    "epsilon beyond float32": {"llama.attention.layer_norm_rms_epsilon": float("inf")},
    "layers without end": {"llama.block_count": (1 << 31) - 1},
    "heads of nothing": {"llama.attention.head_count": 0},
}


@pytest.mark.parametrize("case", VOCABULARY)
def test_gguf_metadata(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    path = ggufs.write(tmp_path / "m.gguf", metadata=VOCABULARY[case])
    assert len(refused(path, capsys, "m.gguf")) < 1100


@pytest.mark.parametrize("case", BROKEN)
def test_safetensors(copy: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    content, data, length, _ = BROKEN[case]
    broken = min(copy.glob("*.safetensors"))
    write_safetensors(broken, content, data, length)
    refused(copy, capsys, broken.name)


@pytest.mark.parametrize("cut", ["0", "7", "8", "header-1", "header", "data-1"])
def test_safetensors_cut(copy: Path, capsys: pytest.CaptureFixture[str], cut: str) -> None:
    broken = min(copy.glob("*.safetensors"))
    data = broken.read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    at = {"header-1": head - 1, "header": head, "data-1": len(data) - 1}.get(cut)
    broken.write_bytes(data[: int(cut) if at is None else at])
    refused(copy, capsys, broken.name)


def test_safetensors_of_a_million_commas(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = min(copy.glob("*.safetensors"))
    write_safetensors(broken, b'{"a":[' + b"0," * (9 << 20) + b"0]}")
    assert "lists more than" in refused(copy, capsys, broken.name)


def test_a_missing_tensor_and_one_too_few(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = copy / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    shard = table["weight_map"].pop("model.norm.weight")
    kept = {name: torch.ones(1) for name, file in table["weight_map"].items() if file == shard}
    save_file(kept, copy / shard)
    index.write_text(json.dumps(table))
    refused(copy, capsys, "model.")


def test_a_pipe_is_no_file(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening one would wait for a writer for ever."""
    shard = min(copy.glob("*.safetensors"))
    shard.unlink()
    os.mkfifo(shard)
    refused(copy, capsys, "is not a file")
    os.mkfifo(copy.parent / "m.gguf")
    assert cli.main(["complete", str(copy.parent / "m.gguf"), "a"]) == 2


def test_a_tensor_that_the_model_would_not_read(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A norm that no Llama has: without it the answers would be wrong, and nobody would know."""
    extra = {
        "model.layers.0.self_attn.q_norm.weight": torch.ones(32),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    save_file(extra, copy / "more.safetensors")
    (copy / "model.safetensors.index.json").unlink()
    assert "layers.0.self_attn.q_norm.weight is no part of a LlamaForCausalLM" in refused(copy, capsys, str(copy))
    path = ggufs.write(tmp_path / "m.gguf", extra={"blk.0.ffn_gate_exps.weight": np.ones((4, 64), np.float32)})
    assert "tensor blk.0.ffn_gate_exps.weight is no part" in refused(path, capsys, "m.gguf")
