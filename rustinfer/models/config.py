"""What a checkpoint's config.json says about a decoder, checked once. Fields of single architectures stay in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import CheckpointError
from .fields import Fields

_MOST_LAYERS = 4096  # a list is made for each, so a corrupt number must not pass


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched: `kind` is linear, llama3, yarn, or factors: a divisor for each frequency.

    Which other fields count depends on the kind; None means that the checkpoint leaves it to the method's default.
    """

    kind: str
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    factors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rope:
    """Rotary positions: the base of the frequencies, and their scaling if there is one."""

    theta: float
    scaling: RopeScaling | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A decoder's shape. `width` is the residual stream's, `hidden` the MLP's; `window` is 0 without a sliding window.

    `context` is the most positions the model was made for. `raw` is the whole config.json.
    """

    architecture: str
    vocab: int
    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    rope: Rope
    context: int
    tied: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
    window: int = 0
    eos_ids: tuple[int, ...] = ()
    bos_id: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def from_dict(raw: Mapping[str, Any], where: str = "config.json") -> ModelConfig:
        """Read a config.json. Raises CheckpointError, which begins with `where`, for what is missing or cannot be."""
        f = Fields(raw, where)
        heads, width = f.count("num_attention_heads"), f.count("hidden_size")
        kv_heads = f.count("num_key_value_heads", heads)
        if heads % kv_heads:
            raise CheckpointError(f"{where}: {heads} heads cannot share {kv_heads} key-value heads evenly")
        head_dim = f.count("head_dim", width // heads)
        if head_dim % 2 or not head_dim:
            raise CheckpointError(f"{where}: head_dim is {head_dim}, which rotary positions cannot halve")
        context = f.count("max_position_embeddings")
        return ModelConfig(
            architecture=_architecture(f),
            vocab=f.count("vocab_size"),
            width=width,
            hidden=f.count("intermediate_size"),
            layers=_layers(f),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            eps=f.number("rms_norm_eps", 1e-6),
            rope=_rope(f, context),
            context=context,
            tied=f.flag("tie_word_embeddings"),
            attention_bias=f.flag("attention_bias"),
            mlp_bias=f.flag("mlp_bias"),
            activation=str(raw.get("hidden_act") or "silu"),
            window=f.count("sliding_window", 0) if f.flag("use_sliding_window", True) else 0,
            eos_ids=f.ids("eos_token_id"),
            bos_id=next(iter(f.ids("bos_token_id")), None),
            raw=raw,
        )


def _architecture(f: Fields) -> str:
    names = f.raw.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(f"{f.where}: architectures names no model")
    return names[0]


def _layers(f: Fields) -> int:
    layers = f.count("num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise CheckpointError(f"{f.where}: num_hidden_layers is {layers}, more than {_MOST_LAYERS}")
    return layers


def _rope(f: Fields, context: int) -> Rope:
    # transformers 5 writes one table, rope_parameters; older ones write rope_theta and, where scaled, rope_scaling.
    values = f.table("rope_parameters") or f.table("rope_scaling") or {}
    r = Fields({**values, "rope_theta": values.get("rope_theta", f.raw.get("rope_theta"))}, f"{f.where}: rope_scaling")
    partial = values.get("partial_rotary_factor") or f.raw.get("partial_rotary_factor") or 1
    if partial != 1:
        raise CheckpointError(f"{f.where}: partial_rotary_factor {partial} is not supported, only 1")
    return Rope(r.number("rope_theta", 10000.0), _scaling(r, f, context))


def _scaling(r: Fields, f: Fields, context: int) -> RopeScaling | None:
    kind = r.raw.get("rope_type") or r.raw.get("type") or "default"
    original = r.count("original_max_position_embeddings", f.count("original_max_position_embeddings", context))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(kind, r.number("factor"))
    if kind == "llama3":
        low, high = r.number("low_freq_factor"), r.number("high_freq_factor")
        if not low < high:
            raise CheckpointError(f"{r.where}: low_freq_factor {low} is not below high_freq_factor {high}")
        return RopeScaling(kind, r.number("factor"), low, high, original)
    if kind == "yarn":
        if (theta := r.number("rope_theta", 10000.0)) <= 1:
            raise CheckpointError(f"{r.where}: rope_theta is {theta}, which yarn takes the logarithm of")
        return RopeScaling(
            kind,
            r.number("factor", context / original),
            original_context=original,
            beta_fast=r.number("beta_fast", 32.0),
            beta_slow=r.number("beta_slow", 1.0),
            attention_factor=r.maybe("attention_factor"),
            mscale=r.maybe("mscale"),
            mscale_all_dim=r.maybe("mscale_all_dim"),
            truncate=r.flag("truncate", True),
        )
    if kind == "factors":  # ours: what a GGUF file's tensor rope_freqs.weight says
        return RopeScaling(kind, factors=r.numbers("factors"))
    raise CheckpointError(f"{f.where}: rope_type {kind!r} is not supported, only default, linear, llama3 and yarn")
