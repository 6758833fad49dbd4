"""Checkpoints in fp8, as their makers lay them out: tiny ones of random weights, against the same weights unpacked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rustinfer import LLM, SamplingParams
from rustinfer.models.directory import open_directory
from rustinfer.models.errors import CheckpointError
from rustinfer.registry import FP8, PackedWeight, dense

from .directories import write

CPU = torch.device("cpu")
E4M3 = torch.float8_e4m3fn
BLOCK = [16, 16]
# What a layout calls itself in config.json, the ending of its scales' names, and whether it leaves out the head.
LAYOUTS: dict[str, tuple[dict[str, Any], str]] = {
    "tensor": ({"quant_method": "fp8", "activation_scheme": "static"}, "_scale"),
    "channel": (
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"type": "float", "strategy": "channel"}}},
        },
        "_scale",
    ),
    "row": ({"quant_method": "fbgemm_fp8"}, "_scale"),
    "block": ({"quant_method": "fp8", "weight_block_size": BLOCK}, "_scale_inv"),
    "block, compressed": (
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {"group_0": {"weights": {"strategy": "block", "block_structure": BLOCK}}},
        },
        "_scale",
    ),
}


def peaks(weight: Tensor, layout: str) -> Tensor:
    """The largest magnitude of all that shares a scale."""
    if layout == "tensor":
        return weight.abs().amax()
    if layout in ("channel", "row"):
        return weight.abs().amax(1, keepdim=True)
    rows, columns = (-(-n // b) for n, b in zip(weight.shape, BLOCK, strict=True))
    padded = torch.zeros(rows * BLOCK[0], columns * BLOCK[1])
    padded[: weight.shape[0], : weight.shape[1]] = weight
    return padded.view(rows, BLOCK[0], columns, BLOCK[1]).abs().amax((1, 3))


def spread(scales: Tensor, shape: torch.Size) -> Tensor:
    if scales.dim() == 2 and scales.shape[1] > 1:
        scales = scales.repeat_interleave(BLOCK[0], 0).repeat_interleave(BLOCK[1], 1)[: shape[0], : shape[1]]
    return scales.expand(shape)


def pack(path: Path, layout: str) -> dict[str, Tensor]:
    """Write a checkpoint with its layers' matrices in fp8; returns what all its weights are worth."""
    table, ending = LAYOUTS[layout]
    write(path, quantization_config=table, dtype=torch.float32, torch_dtype="float32")
    stored, worth = load_file(path / "model.safetensors"), {}
    for name, weight in list(stored.items()):
        worth[name] = weight
        if weight.dim() == 2 and ".layers." in name:
            scales = peaks(weight, layout) / 448
            stored[name] = (weight / spread(scales, weight.shape)).to(E4M3)
            stored[f"{name}{ending}"] = scales
            worth[name] = stored[name].float() * spread(scales, weight.shape)
            if layout == "tensor":
                stored[f"{name.removesuffix('weight')}input_scale"] = torch.tensor(0.5)
    save_file(stored, path / "model.safetensors")
    return worth


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_worth_what_their_makers_say(tmp_path: Path, layout: str) -> None:
    worth = pack(tmp_path, layout)
    weights = open_directory(tmp_path, "m", "auto", CPU).weights
    assert set(weights) == set(worth)
    for name, values in worth.items():
        weight = weights[name]
        assert isinstance(weight, PackedWeight) == (values.dim() == 2 and ".layers." in name)
        if isinstance(weight, PackedWeight):
            assert (weight.format, weight.data.dtype, weight.dtype) == (FP8, E4M3, torch.float32)
        assert torch.equal(dense(weight), values)


@pytest.mark.parametrize("layout", ["tensor", "channel", "block"])
def test_a_model_speaks_as_with_its_weights_unpacked(tmp_path: Path, layout: str) -> None:
    worth = pack(tmp_path / "packed", layout)
    write(tmp_path / "plain", torch_dtype="float32")
    save_file(worth, tmp_path / "plain" / "model.safetensors")
    said = []
    for name in ("packed", "plain"):
        with LLM(str(tmp_path / name), device="cpu", threads=1, kv_cache_tokens=256) as llm:
            done = llm.generate([{"prompt_token_ids": [5, 6, 7]}], SamplingParams(temperature=0, max_tokens=16))
            said.append(done[0].outputs[0].token_ids)
    assert said[0] == said[1]


def test_the_dtype_is_the_one_from_before(tmp_path: Path) -> None:
    pack(tmp_path, "channel")
    raw = json.loads((tmp_path / "config.json").read_text())
    for written, chosen in (("float16", torch.bfloat16), ("bfloat16", torch.bfloat16), (None, torch.bfloat16)):
        (tmp_path / "config.json").write_text(json.dumps({**raw, "torch_dtype": written}))
        assert open_directory(tmp_path, "m", "auto", CPU).dtype is chosen


@pytest.mark.parametrize(
    ("scales", "words"),
    [
        (None, "is in fp8 and has no scales"),
        (torch.ones(3, 1), "is neither one scale"),
        (torch.ones(2, 4), "is neither one scale"),
        (torch.ones(32, 2), "is neither one scale"),
    ],
)
def test_scales_that_do_not_fit(tmp_path: Path, scales: Tensor | None, words: str) -> None:
    pack(tmp_path, "block")
    stored, name = load_file(tmp_path / "model.safetensors"), "model.layers.1.mlp.down_proj.weight"
    del stored[f"{name}_scale_inv"]
    save_file(stored | ({} if scales is None else {f"{name}_scale_inv": scales}), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        open_directory(tmp_path, "m", "auto", CPU).weights[name]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"quant_method": "gptq"}, "quantised by 'gptq' are not read"),
        ("odd", "quantised by None are not read"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "the form 'pack-quantized'"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, r"a block of \[128\] is no pair"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "no pair of sizes"),
    ],
)
def test_what_is_not_read(tmp_path: Path, table: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        open_directory(write(tmp_path, quantization_config=table), "m", "auto", CPU)
