"""GGUF metadata in the words of a Hugging Face config.json."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..registry import dense
from .errors import CheckpointError
from .gguf import GgufFile
from .gguf_blocks import read_tensor

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def config_from(file: GgufFile) -> dict[str, Any]:
    """A config.json for the file's metadata and tensors."""
    m, kind = file.metadata, str(file.metadata.get("general.architecture"))
    if kind not in ARCHITECTURES:
        raise CheckpointError(
            f"{file.path}: architecture {kind!r} is not known in GGUF; known: {', '.join(ARCHITECTURES)}"
        )
    heads, width = m.get(f"{kind}.attention.head_count"), m.get(f"{kind}.embedding_length")
    config = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": m.get(f"{kind}.feed_forward_length"),
        "num_hidden_layers": m.get(f"{kind}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": m.get(f"{kind}.attention.head_count_kv"),
        "head_dim": m.get(f"{kind}.attention.key_length", m.get(f"{kind}.rope.dimension_count")),
        "rms_norm_eps": _shortest(m.get(f"{kind}.attention.layer_norm_rms_epsilon")),
        "rope_theta": m.get(f"{kind}.rope.freq_base", 10000.0),
        "rope_scaling": _scaling(file, kind),
        "max_position_embeddings": m.get(f"{kind}.context_length"),
        "sliding_window": m.get(f"{kind}.attention.sliding_window"),
        "vocab_size": _vocabulary(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "bos_token_id": m.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _ends(m),
        "hidden_act": "silu",
    }
    return {key: value for key, value in config.items() if value is not None}


def _vocabulary(file: GgufFile) -> int | None:
    embedding = file.tensors.get("token_embd.weight")
    return embedding.shape[0] if embedding is not None else None


def _ends(m: dict[str, Any]) -> list[int] | None:
    """The tokens that end a text or a turn."""
    ids = [m.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    return sorted({i for i in ids if isinstance(i, int)}) or None


def _scaling(file: GgufFile, kind: str) -> dict[str, Any] | None:
    m = file.metadata
    if "rope_freqs.weight" in file.tensors:  # Llama 3's scaling, worked out by the converter
        factors = dense(read_tensor(file, file.tensors["rope_freqs.weight"], torch.float32))
        return {"rope_type": "factors", "factors": factors.flatten().tolist()}
    name = m.get(f"{kind}.rope.scaling.type", "none")
    if name == "none":
        return None
    scaling = {
        "rope_type": name,
        "factor": m.get(f"{kind}.rope.scaling.factor"),
        "original_max_position_embeddings": m.get(f"{kind}.rope.scaling.original_context_length"),
    }
    return {key: value for key, value in scaling.items() if value is not None}


def _shortest(value: object) -> object:
    """The shortest decimal that gives the same float32: 1e-05 where the file's float32 reads 9.99999974e-06."""
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):  # then it is infinite, which is refused as such
        return float(str(np.float32(value)))
