"""Tables of rotary positions, with the frequency scalings that Llama-like checkpoints use."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, floor, log, pi

import torch
from torch import Tensor

from .config import ModelConfig, Rope, RopeScaling
from .errors import CheckpointError


def rotary_table(config: ModelConfig, positions: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Cosines and sines, each float32 [positions, head_dim / 2]; YaRN's attention factor is multiplied in.

    Whoever asks for the same gets the same tensors: a model is bound many times, and nobody writes to them.
    """
    return _table(config.rope, config.head_dim, positions, torch.device(device))


@lru_cache(2)
def _table(rope: Rope, dim: int, positions: int, device: torch.device) -> tuple[Tensor, Tensor]:
    frequencies, magnitude = inverse_frequencies(rope, dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return (angles.cos() * magnitude).to(device), (angles.sin() * magnitude).to(device)


def inverse_frequencies(rope: Rope, dim: int) -> tuple[Tensor, float]:
    """Radians a position, float32 [dim / 2] on the CPU, and the factor on cosines and sines."""
    scaling = rope.scaling
    plain = 1.0 / rope.theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    if scaling is None:
        return plain, 1.0
    if scaling.kind == "linear":
        return plain / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(plain, scaling), 1.0
    if scaling.kind == "yarn":
        return _yarn(plain, scaling, rope.theta, dim), _attention_factor(scaling)
    if len(scaling.factors) != dim // 2:
        raise CheckpointError(f"the checkpoint has {len(scaling.factors)} rotary factors for {dim // 2} frequencies")
    return plain / torch.tensor(scaling.factors), 1.0


def _llama3(plain: Tensor, s: RopeScaling) -> Tensor:
    """Keep short waves, stretch long ones by `factor`, and blend in between."""
    turns = s.original_context * plain / (2 * pi)  # within the context that the model was first trained for
    blend = ((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)).clamp(0, 1)
    return (1 - blend) * plain / s.factor + blend * plain


def _yarn(plain: Tensor, s: RopeScaling, theta: float, dim: int) -> Tensor:
    """Keep waves with more than `beta_fast` turns in the context, stretch those with fewer than `beta_slow`."""
    low, high = (
        dim * log(s.original_context / (beta * 2 * pi)) / (2 * log(theta)) for beta in (s.beta_fast, s.beta_slow)
    )
    if s.truncate:
        low, high = floor(low), ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low if high != low else 0.001)
    stretched = ramp.clamp(0, 1)
    return plain / s.factor * stretched + plain * (1 - stretched)


def _attention_factor(s: RopeScaling) -> float:
    if s.attention_factor is not None:
        return s.attention_factor
    if s.mscale and s.mscale_all_dim:
        return _magnitude(s.factor, s.mscale) / _magnitude(s.factor, s.mscale_all_dim)
    return _magnitude(s.factor)


def _magnitude(factor: float, mscale: float = 1.0) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * log(factor) + 1.0
