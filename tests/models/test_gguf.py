from __future__ import annotations

import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from rustinfer.models.errors import CheckpointError
from rustinfer.models.gguf import GgufFile
from rustinfer.models.gguf_checkpoint import open_gguf
from rustinfer.text import Tokenizer

from .ggufs import VOCAB, WIDTH, tensors, write

CPU = torch.device("cpu")


def test_reads_what_the_gguf_package_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", "Q4_1", metadata={"x.numbers": [1, 2, 3], "x.flag": True, "x.real": 0.5})
    ours, theirs = GgufFile(path), gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.metadata == fields
    assert set(ours.tensors) == {tensor.name for tensor in theirs.tensors}
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert mine.shape == tuple(int(n) for n in tensor.shape[::-1])
        assert mine.type == tensor.tensor_type.name
        assert ours.blocks(mine).tobytes() == tensor.data.tobytes()


def header(*, version: int = 3, tensors: int = 0, fields: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + rest


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def tensor(
    *, name: bytes = b"t", dims: tuple[int, ...] = (32,), count: int | None = None, kind: int = 0, offset: int = 0
) -> bytes:
    sizes = struct.pack(f"<{len(dims)}Q", *dims)
    number = struct.pack("<I", len(dims) if count is None else count)
    return string(name) + number + sizes + struct.pack("<IQ", kind, offset)


def array(item: int, count: int, rest: bytes = b"") -> bytes:
    return string(b"k") + struct.pack("<IIQ", 9, item, count) + rest


def fields(rest: bytes) -> bytes:
    return header(fields=1, rest=rest)


def tensors_of(*entries: bytes) -> bytes:
    return header(tensors=len(entries), rest=b"".join(entries) + bytes(500))


ALIGNMENT_0 = string(b"general.alignment") + struct.pack("<II", 4, 0)
CORRUPT = {
    "empty": (b"", "cannot be read"),
    "another format": (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
    "version 1": (header(version=1), "version 1 is not read"),
    "big-endian": (header(version=3 << 24), "version big-endian is not read"),
    "no header": (b"GGUF\x03\0\0", "ends inside of its header"),
    "2**64 - 1 fields": (header(fields=(1 << 64) - 1), "claims 18446744073709551615 metadata fields"),
    "2**63 tensors": (header(tensors=1 << 63), "claims"),
    "string of 2**63": (fields(string(b"abcdefghij", 1 << 63)), "ends inside"),
    "array of 2**60": (fields(array(4, 1 << 60)), "claims"),
    "array of strings": (fields(array(8, 1, string(b"", 99))), "ends inside"),
    "array of cut strings": (fields(array(8, 2, string(b"12345678") + bytes(3))), "ends inside"),
    "array of bad strings": (fields(array(8, 1, string(b"\xff\xfe"))), "not UTF-8"),
    "nested arrays": (fields(array(9, 1, struct.pack("<IQ", 9, 1) * 40)), "unknown type"),
    "unknown value": (fields(string(b"k") + struct.pack("<I", 77) + bytes(8)), "unknown type 77"),
    "bad name": (fields(string(b"\xff\xfe") + bytes(16)), "not UTF-8"),
    "nine dimensions": (tensors_of(tensor(count=9)), "9 dimensions"),
    "no dimension": (tensors_of(tensor(dims=())), "0 dimensions"),
    "dimension 0": (tensors_of(tensor(dims=(32, 0))), "shape"),
    "negative dimension": (tensors_of(tensor(dims=(32, (1 << 64) - 1))), "shape"),
    "32-bit overflow": (tensors_of(tensor(dims=(1 << 32, 1 << 32))), "truncated"),
    "past the end": (tensors_of(tensor(offset=1 << 40)), "truncated: tensor t ends at"),
    "unaligned": (tensors_of(tensor(offset=5)), "not aligned"),
    "ragged rows": (tensors_of(tensor(dims=(33,), kind=8)), "no multiple of 32"),
    "unknown blocks": (tensors_of(tensor(kind=999)), "type 999, which is not read"),
    "blocks that we lack": (tensors_of(tensor(kind=10)), "type Q2_K, which is not read; use one of F32"),
    "one name twice": (tensors_of(tensor(), tensor(offset=128)), "is there twice"),
    "overlap": (tensors_of(tensor(), tensor(name=b"u", offset=64)), "tensors t and u overlap"),
    "alignment 0": (header(tensors=1, fields=1, rest=ALIGNMENT_0 + tensor() + bytes(500)), "alignment is 0"),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_a_corrupt_file_is_one_line_that_names_it(tmp_path: Path, case: str) -> None:
    data, message = CORRUPT[case]
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    begin = time.thread_time()
    with pytest.raises(CheckpointError, match=message) as error:
        GgufFile(path)
    assert time.thread_time() - begin < 1
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "m.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for length in [*range(0, 200, 7), len(data) // 3, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            GgufFile(path)


def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        GgufFile(tmp_path)


def test_a_checkpoint_has_all_its_parts(tmp_path: Path) -> None:
    checkpoint = open_gguf(write(tmp_path / "m.gguf", "Q8_0"), "m", "auto", CPU)
    assert checkpoint.config.architecture == "LlamaForCausalLM"
    assert (checkpoint.config.width, checkpoint.config.vocab, checkpoint.config.eps) == (WIDTH, VOCAB, 1e-5)
    assert checkpoint.eos_ids == (VOCAB - 1,)
    assert checkpoint.dtype == torch.bfloat16
    assert checkpoint.template.special_tokens["eos_token"] == "<|im_end|>"
    assert checkpoint.template.source
    assert Tokenizer(checkpoint.tokenizer_json or "").encode("ab<|im_end|>") == [256, VOCAB - 1]
    assert len(checkpoint.weights) == len(tensors())


def test_dtypes(tmp_path: Path) -> None:
    for kind, dtype in {
        "F32": torch.float32,
        "F16": torch.bfloat16,
        "BF16": torch.bfloat16,
        "Q4_0": torch.bfloat16,
    }.items():
        path = write(tmp_path / f"{kind}.gguf", kind)
        assert open_gguf(path, "m", "auto", CPU).dtype == dtype
        asked = open_gguf(path, "m", torch.float32, CPU)
        assert {weight.dtype for weight in asked.weights.values()} == {torch.float32}


def test_a_missing_and_a_misshapen_tensor_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.gguf", drop=("blk.1.ffn_up.weight",), extra={"output_norm.weight": np.ones(8, np.float32)}
    )
    weights = open_gguf(path, "m", "auto", CPU).weights
    with pytest.raises(CheckpointError, match=r"m\.gguf: tensor model\.layers\.1\.mlp\.up_proj\.weight is missing$"):
        weights["model.layers.1.mlp.up_proj.weight"]
    assert weights.get("model.layers.1.mlp.up_proj.weight") is None
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is \[8\], but the configuration says \[64\]"):
        weights["model.norm.weight"]


def test_a_tied_head_and_rope_factors(tmp_path: Path) -> None:
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    path = write(tmp_path / "m.gguf", drop=("output.weight",), extra={"rope_freqs.weight": factors})
    checkpoint = open_gguf(path, "m", "auto", CPU)
    assert checkpoint.config.tied
    assert "lm_head.weight" not in checkpoint.weights
    assert checkpoint.config.rope.scaling is not None
    assert checkpoint.config.rope.scaling.factors == tuple(factors.tolist())


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba' is not known in GGUF; known: llama"),
        ({"split.count": 3}, "one of several parts"),
        ({"llama.attention.head_count": 5}, "cannot share"),
        ({"llama.rope.scaling.type": "longrope"}, "rope_type 'longrope' is not supported"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer model 'bert' is not read"),
        ({"tokenizer.ggml.pre": "klingon"}, "pre-tokenizer 'klingon' is not known; known: .*smollm"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path: Path, metadata: dict[str, object], message: str) -> None:
    path = write(tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(CheckpointError, match=message):
        open_gguf(path, "m", "auto", CPU)
