"""The built-in ops. Each function's body is its definition; kernels are judged against it.

Activations are dense in their last axis and may have any other strides. Positional arguments flow at every call,
keyword-only ones are frozen at bind.
"""

from __future__ import annotations

from collections.abc import Iterable

from rustinfer.registry import Op, hookimpl

from . import (  # noqa: F401  (they register themselves)
    attention_cases,
    decode_cases,
    decode_tokens_cases,
    fused_cases,
    sampling_cases,
)
from .activation import gelu_mul, silu_mul
from .attention import attention
from .cache import write_kv
from .decode import decode_step
from .decode_tokens import decode_tokens
from .embedding import embedding
from .fused import gate_up_silu, norm_gate_up_silu, norm_qkv_rope_write, qkv_rope_write
from .joint import linear_add_rms_norm, linear_norm_gate_up_silu, linear_norm_qkv_rope_write
from .linear import linear, lm_head
from .mask import bias_logits, mask_logits
from .norm import add_rms_norm, rms_norm
from .penalty import penalize
from .place import advance
from .place_rows import place_rows
from .rotary import rope
from .sampling import argmax, sample, sound
from .typical import keep_typical

__all__ = [
    "add_rms_norm", "advance", "argmax", "attention", "bias_logits", "decode_step", "decode_tokens", "embedding",
    "gate_up_silu", "gelu_mul", "keep_typical", "linear", "linear_add_rms_norm", "linear_norm_gate_up_silu",
    "linear_norm_qkv_rope_write", "lm_head", "mask_logits", "norm_gate_up_silu", "norm_qkv_rope_write", "penalize",
    "place_rows", "qkv_rope_write", "rms_norm", "rope", "sample", "silu_mul", "sound", "write_kv",
]  # fmt: skip


@hookimpl
def rustinfer_ops() -> Iterable[Op]:
    """Every op named in `__all__`."""
    return [globals()[name] for name in __all__]
