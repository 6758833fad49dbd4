from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rustinfer.models.gguf_checkpoint import open_gguf
from rustinfer.models.gguf_weights import hugging_face_name, split_half
from rustinfer.registry import dense

from .ggufs import HEAD_DIM, HEADS, KV_HEADS, tensors, write


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to Hugging Face's rows of q and k."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_rows_of_q_and_k_are_back_in_split_half_order(tmp_path: Path, kind: str) -> None:
    dice = np.random.default_rng(5)
    scale = 1.27 / 127
    q = (dice.integers(-127, 128, (HEADS * HEAD_DIM, 64)) * scale).astype(np.float32)
    k = (dice.integers(-127, 128, (KV_HEADS * HEAD_DIM, 64)) * scale).astype(np.float32)
    extra = {"blk.0.attn_q.weight": permuted(q, HEADS), "blk.0.attn_k.weight": permuted(k, KV_HEADS)}
    weights = open_gguf(write(tmp_path / "m.gguf", kind, extra=extra), "m", torch.float32, torch.device("cpu")).weights
    for name, expected in (("q", q), ("k", k)):
        read = dense(weights[f"model.layers.0.self_attn.{name}_proj.weight"])
        torch.testing.assert_close(read, torch.from_numpy(expected), rtol=0, atol=0 if kind == "F32" else 0.006)


def test_biases_of_q_and_k_are_reordered_too(tmp_path: Path) -> None:
    bias = np.arange(HEADS * HEAD_DIM, dtype=np.float32)
    extra = {"blk.0.attn_q.bias": permuted(bias[:, None], HEADS)[:, 0]}
    checkpoint = open_gguf(write(tmp_path / "m.gguf", extra=extra), "m", torch.float32, torch.device("cpu"))
    assert checkpoint.config.attention_bias
    assert dense(checkpoint.weights["model.layers.0.self_attn.q_proj.bias"]).tolist() == bias.tolist()


def test_all_other_tensors_are_as_they_were(tmp_path: Path) -> None:
    weights = open_gguf(write(tmp_path / "m.gguf"), "m", torch.float32, torch.device("cpu")).weights
    for old, values in tensors().items():
        name = hugging_face_name(old)
        assert name in weights
        if "attn_q" not in old and "attn_k" not in old:
            assert torch.equal(dense(weights[name]), torch.from_numpy(values))


def test_names() -> None:
    assert hugging_face_name("blk.12.ffn_down.weight") == "model.layers.12.mlp.down_proj.weight"
    assert hugging_face_name("blk.0.attn_q_norm.weight") == "model.layers.0.self_attn.q_norm.weight"
    assert hugging_face_name("rope_freqs.weight") is None
    assert hugging_face_name("blk.0.unheard.weight") is None


def test_split_half_pairs_each_row_with_the_one_half_a_head_away() -> None:
    assert split_half(2, 6).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]
