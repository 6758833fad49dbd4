"""Writes small GGUF files for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB = 64, 96, 2, 4, 2, 300
HEAD_DIM = WIDTH // HEADS


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 tensors of a small Llama under GGUF's names; q and k have their rotation pairs as neighbours."""
    dice = np.random.default_rng(seed)
    cached = KV_HEADS * HEAD_DIM
    shapes = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,), "output.weight": (VOCAB, WIDTH)}
    for i in range(LAYERS):
        part = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (cached, WIDTH),
            "attn_v": (cached, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (HIDDEN, WIDTH),
            "ffn_up": (HIDDEN, WIDTH),
            "ffn_down": (WIDTH, HIDDEN),
        }
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in part.items()}
    return {name: dice.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def byte_vocabulary() -> list[str]:
    """A byte-level vocabulary of VOCAB tokens whose last two are for control."""
    from rustinfer.text.tokenizer import byte_characters

    words = [f"word{i}" for i in range(VOCAB - 259)]
    return [*byte_characters().values(), "ab", *words, "<|im_start|>", "<|im_end|>"]


def write(
    path: Path,
    kinds: Mapping[str, str] | str = "F32",
    *,
    drop: tuple[str, ...] = (),
    extra: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """A small Llama in a GGUF file; matrices are of one type or, by name, of several."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = byte_vocabulary()
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (VOCAB - 2) + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(VOCAB - 2)
    writer.add_eos_token_id(VOCAB - 1)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    for key, value in (metadata or {}).items():
        writer.add_key_value(key, value, _kind(value), sub_type=_kind(value[0]) if isinstance(value, list) else None)
    for name, values in {**tensors(), **(extra or {})}.items():
        if name not in drop:
            kind = kinds if isinstance(kinds, str) else kinds.get(name, "F32")
            _add(writer, name, values, kind if values.ndim == 2 else "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, kind: str) -> None:
    of = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(name, values if kind == "F32" else gguf.quants.quantize(values, of), raw_dtype=of)


def _kind(value: Any) -> gguf.GGUFValueType:
    if isinstance(value, list):
        return gguf.GGUFValueType.ARRAY
    if isinstance(value, bool):
        return gguf.GGUFValueType.BOOL
    if isinstance(value, int):
        return gguf.GGUFValueType.INT32
    return gguf.GGUFValueType.FLOAT32 if isinstance(value, float) else gguf.GGUFValueType.STRING
