"""How long a step takes at least: the bytes that it must read, the operations it must do, and the device's best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from .models.config import ModelConfig
from .models.shapes import SHAPES, weight_shapes
from .stopwatch import seconds

BYTES = 2  # of a number, in bfloat16


@dataclass(frozen=True)
class Roof:
    """Bytes per second of a large copy, both ways counted, and operations per second of a large product.

    Without a rate only memory is a limit.
    """

    bandwidth: float
    rate: float = math.inf

    def floor(self, nbytes: float, flops: float) -> float:
        """The seconds that so many bytes and operations take at least."""
        return max(nbytes / self.bandwidth, flops / self.rate)


def roof(device: torch.device, dtype: torch.dtype) -> Roof:
    """Measured here and now."""
    width = 8192 if device.type == "cuda" else 1024
    a, b = (torch.empty(width, width, dtype=dtype, device=device).normal_() for _ in "ab")
    return Roof(bandwidth(device), 2 * width**3 / seconds([lambda: a @ b], device))


def bandwidth(device: torch.device) -> float:
    """Bytes a second, measured here and now over more than the caches hold."""
    source = torch.empty(1 << (28 if device.type == "cuda" else 25), device=device).normal_()
    target = torch.empty_like(source)
    # By a kernel on a GPU: a copy in a graph goes to the copy engines, which reach two thirds of what kernels do.
    copy = (lambda: torch.add(source, 1, out=target)) if device.type == "cuda" else lambda: target.copy_(source)
    return 2 * source.nbytes / seconds([copy], device)


class Floors:
    """The least times of steps of a dense model in 16 bits, in seconds."""

    def __init__(self, config: ModelConfig, roof: Roof) -> None:
        self.config, self.roof = config, roof
        sizes = {name: math.prod(shape) for name, shape in weight_shapes(config).items()}
        self.head = sizes["model.embed_tokens.weight"]
        # Of the embedding a step reads a row each; where it is the head, too, it is read whole.
        self.layers = sum(sizes.values()) - self.head - sizes.get("lm_head.weight", 0)
        self.position = 2 * config.layers * config.kv_heads * config.head_dim  # numbers in the cache
        self.pair = 4 * config.layers * config.heads * config.head_dim  # operations of a query and a key

    @classmethod
    def of(cls, name: str, roof: Roof) -> Floors | None:
        """Those of a built-in shape; None for any other model."""
        return cls(ModelConfig.from_dict(SHAPES[name], name), roof) if name in SHAPES else None

    def decode(self, rows: int, context: float) -> float:
        """One more token of so many sequences of that length."""
        weights = self.layers + self.head
        return self.roof.floor(
            BYTES * (weights + rows * context * self.position), rows * (2 * weights + context * self.pair)
        )

    def prompt(self, tokens: int) -> float:
        """A prompt, of which the last position's logits are wanted."""
        weights = self.layers + self.head
        flops = 2 * self.layers * tokens + 2 * self.head + self.pair * tokens * (tokens + 1) / 2
        return self.roof.floor(BYTES * (weights + tokens * self.position), flops)
