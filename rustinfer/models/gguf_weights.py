"""A GGUF file's tensors under the names that Hugging Face gives them."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray

from ..registry import Weight
from .checked import Stored
from .config import ModelConfig
from .errors import CheckpointError, MissingTensorError
from .gguf import GgufFile
from .gguf_blocks import read_tensor

_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TABLES = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


class GgufWeights(Stored):
    """Weights by their Hugging Face names, read when asked for and not kept.

    Llama files store the rows of q and k so that rotation pairs are neighbours; here each head's rows come in
    split-half order, as the op `rope` wants them.
    """

    def __init__(self, file: GgufFile, config: ModelConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.file = file
        self.config = config
        self.dtype = dtype
        self.device = device
        # One that is not known keeps its name, so that the model can be seen not to read it.
        self.names = self._names = {hugging_face_name(old) or old: old for old in file.tensors if old not in _TABLES}
        self._paired = file.metadata.get("general.architecture") == "llama"

    def __getitem__(self, name: str) -> Weight:
        if name not in self._names:
            raise MissingTensorError(f"{self.file.path}: tensor {name} is missing")
        tensor = self.file.tensors[self._names[name]]
        return read_tensor(self.file, tensor, self.dtype, self._order(name)).to(self.device)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.file.tensors[self._names[name]].shape

    def _order(self, name: str) -> NDArray[np.intp] | None:
        heads = {"q_proj": self.config.heads, "k_proj": self.config.kv_heads}.get(name.split(".")[-2])
        if heads is None or not self._paired:
            return None
        if self.shape(name)[0] != heads * self.config.head_dim:
            raise CheckpointError(
                f"{self.file.path}: {name} has {self.shape(name)[0]} rows, which do not fit {heads} heads"
            )
        return split_half(heads, self.config.head_dim)


def hugging_face_name(name: str) -> str | None:
    """The Hugging Face name of a GGUF tensor; None for one that is not known."""
    block = _BLOCK.fullmatch(name)
    if block is None:
        return _WHOLE.get(name)
    part = _LAYER.get(block[2])
    return f"model.layers.{block[1]}.{part}.{block[3]}" if part else None


def split_half(heads: int, head_dim: int) -> NDArray[np.intp]:
    """For each row in split-half order, its row among neighbouring pairs."""
    return np.arange(heads * head_dim).reshape(heads, head_dim // 2, 2).swapaxes(1, 2).reshape(-1)
