from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rustinfer.models.checkpoint import choose_dtype
from rustinfer.models.directory import open_directory
from rustinfer.models.errors import CheckpointError
from rustinfer.registry import dense

from .directories import CONFIG, random_weights, write

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


@pytest.mark.parametrize("shards", [1, 3])
def test_weights_are_those_of_the_files(tmp_path: Path, shards: int) -> None:
    checkpoint = open_directory(write(tmp_path, shards=shards), "m", torch.float32, CPU)
    expected = random_weights(CONFIG)
    assert set(checkpoint.weights) == set(expected)
    for name, values in expected.items():
        assert torch.equal(dense(checkpoint.weights[name]), values)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float64])
@pytest.mark.parametrize("asked", [torch.float32, torch.bfloat16])
def test_weights_are_converted_to_the_dtype_asked_for(tmp_path: Path, stored: torch.dtype, asked: torch.dtype) -> None:
    checkpoint = open_directory(write(tmp_path, dtype=stored), "m", asked, CPU)
    expected = random_weights(CONFIG, stored)
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(dense(checkpoint.weights[name]), expected[name].to(asked))


@pytest.mark.parametrize(
    ("stored", "device", "chosen"),
    [
        (torch.float32, CPU, torch.float32),
        (torch.float16, CPU, torch.bfloat16),
        (torch.float16, GPU, torch.float16),
        (torch.bfloat16, CPU, torch.bfloat16),
        (torch.float8_e4m3fn, GPU, torch.bfloat16),
        (None, CPU, torch.bfloat16),
        (None, GPU, torch.bfloat16),
    ],
)
def test_the_dtype_called_auto(stored: torch.dtype | None, device: torch.device, chosen: torch.dtype) -> None:
    assert choose_dtype("auto", stored, device) == chosen
    assert choose_dtype(torch.float32, stored, device) == torch.float32


def test_a_tied_head_is_hidden(tmp_path: Path) -> None:
    weights = open_directory(write(tmp_path, tie_word_embeddings=True), "m", "auto", CPU).weights
    assert "lm_head.weight" not in weights
    assert "lm_head.weight" not in list(weights)
    assert weights.get("lm_head.weight") is None
    assert len(weights) == len(random_weights(CONFIG)) - 1


def test_ends_and_sampling_defaults_come_from_generation_config(tmp_path: Path) -> None:
    write(tmp_path)
    table = {"eos_token_id": [299, 7], "temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_length": 4096}
    (tmp_path / "generation_config.json").write_text(json.dumps(table))
    checkpoint = open_directory(tmp_path, "m", "auto", CPU)
    assert checkpoint.eos_ids == (7, 299)
    assert checkpoint.defaults == {"temperature": 0.6, "top_p": 0.9}


NAMED = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]


@pytest.mark.parametrize(
    ("table", "jinja", "expected"),
    [
        ({}, None, None),
        ({"chat_template": "text"}, None, "text"),
        ({"chat_template": "text"}, "file", "file"),
        ({"chat_template": NAMED}, None, {"default": "d", "tool_use": "t"}),
    ],
)
def test_templates_from_each_place(tmp_path: Path, table: dict[str, Any], jinja: str | None, expected: object) -> None:
    write(tmp_path)
    special = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**special, **table}))
    if jinja:
        (tmp_path / "chat_template.jinja").write_text(jinja)
    template = open_directory(tmp_path, "m", "auto", CPU).template
    assert template.source == expected
    assert template.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}


def test_the_tokenizer_is_optional(tmp_path: Path) -> None:
    write(tmp_path)
    assert open_directory(tmp_path, "m", "auto", CPU).tokenizer_json
    (tmp_path / "tokenizer.json").unlink()
    assert open_directory(tmp_path, "m", "auto", CPU).tokenizer_json is None


def test_random_weights_in_place_of_files(tmp_path: Path) -> None:
    write(tmp_path, dtype=torch.float16, torch_dtype="float32")
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    checkpoint = open_directory(tmp_path, "m", "auto", CPU, dummy=True)
    assert checkpoint.dtype == torch.float32
    assert set(checkpoint.weights) == set(random_weights(CONFIG))


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        dict(open_directory(path, "m", "auto", CPU).weights)
    assert "\n" not in str(error.value)


def test_a_directory_without_config(tmp_path: Path) -> None:
    refused(tmp_path, "there is no config.json")


def test_config_that_is_no_table(tmp_path: Path) -> None:
    for text in ("{", "[]", "[" * 100_000, "\udcff"):
        (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(tmp_path, "config.json: (not|cannot)")


def test_pickles_are_refused_with_advice(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, "pickles, which are not read; convert them to safetensors")
    (tmp_path / "pytorch_model.bin").unlink()
    refused(tmp_path, r"there are no \.safetensors files")


def test_a_weight_of_another_shape_than_the_configuration_says(tmp_path: Path) -> None:
    refused(write(tmp_path, vocab_size=301), r"lm_head.weight is \[300, 32\], but the configuration says \[301, 32\]")


def test_an_index_that_leads_out_of_the_directory(tmp_path: Path) -> None:
    path = write(tmp_path / "m", shards=2)
    save_file({"secret": torch.ones(3)}, tmp_path / "x.safetensors")
    for name in ("../x.safetensors", str(tmp_path / "x.safetensors")):
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"secret": name}}))
        refused(path, "lies outside of the checkpoint's directory")


def test_an_index_that_names_no_files(tmp_path: Path) -> None:
    path = write(tmp_path / "m", shards=2)
    for table in ({}, {"weight_map": {}}, {"weight_map": {"a": 5}}, {"weight_map": {"a": "gone.safetensors"}}):
        (path / "model.safetensors.index.json").write_text(json.dumps(table))
        refused(path, "weight_map names no files|cannot be read")


def test_a_link_that_leads_out_is_refused_but_for_the_hub_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "hub" / "snapshots" / "abc")
    blobs = tmp_path / "hub" / "blobs"
    blobs.mkdir()
    (path / "model.safetensors").rename(blobs / "123")
    (path / "model.safetensors").symlink_to(blobs / "123")
    open_directory(path, "m", "auto", CPU)
    (blobs / "123").rename(tmp_path / "elsewhere")
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    refused(path, "model.safetensors lies outside")


def test_one_tensor_in_two_files(tmp_path: Path) -> None:
    write(tmp_path)
    save_file({"model.norm.weight": torch.ones(32)}, tmp_path / "more.safetensors")
    refused(tmp_path, "tensor model.norm.weight is also in")


def test_code_of_the_checkpoint_is_never_run(tmp_path: Path) -> None:
    write(tmp_path, auto_map={"AutoModelForCausalLM": "evil.Model"})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    open_directory(tmp_path, "m", "auto", CPU)
    assert not (tmp_path / "ran").exists()
