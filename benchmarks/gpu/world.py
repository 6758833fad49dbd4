"""A registry of the in-tree plugins, found without an installed distribution, and Llama shapes with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from rustinfer.models.config import ModelConfig
from rustinfer.models.llama import Llama
from rustinfer.models.model import Step
from rustinfer.models.parameters import Parameters
from rustinfer.models.shapes import SHAPES, weight_shapes
from rustinfer.registry import Binder, Policy, Registry, Target, load_plugins

DEVICE = torch.device("cuda")
PAGE = 16


@dataclass(frozen=True)
class Point:
    """What `load_plugins` needs of an entry point."""

    name: str
    value: str

    def load(self) -> Any:
        return import_module(self.value)


def registry(*backends: str) -> Registry:
    """The built-in ops and the named back ends of the tree."""
    points = [Point("ops", "rustinfer.ops")] + [Point(name, f"rustinfer.backends.{name}") for name in backends]
    return load_plugins(points, strict=True).registry


def configuration(name: str, context: int = 16384, layers: int | None = None) -> ModelConfig:
    """A built-in shape, with a shorter rotary table and perhaps fewer layers."""
    config = ModelConfig.from_dict(SHAPES[name], name)
    return replace(config, context=context, layers=layers or config.layers)


def weights(config: ModelConfig, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Gaussian weights of deviation 0.02, norms spread around 1."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    made = {}
    for name, shape in weight_shapes(config).items():
        value = torch.empty(shape, dtype=dtype, device=DEVICE).normal_(0, 0.02, generator=generator)
        made[name] = value + 1 if len(shape) == 1 and name.endswith("norm.weight") else value
    return made


def caches(config: ModelConfig, pages: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Gaussian keys and values."""
    shape = (pages, config.kv_heads, PAGE, config.head_dim)
    make = lambda: torch.empty(shape, dtype=dtype, device=DEVICE).normal_()  # noqa: E731
    return [(make(), make()) for _ in range(config.layers)]


def step(config: ModelConfig, rows: list[int], lengths: list[int], *, seed: int = 0) -> Step:
    """A step of `rows[s]` new tokens of sequences that then have `lengths[s]`; each sequence has pages of its own."""
    generator = torch.Generator().manual_seed(seed)
    widest = -(-max(lengths) // PAGE) + 1
    pages = torch.arange(len(rows) * widest, dtype=torch.int32).view(len(rows), widest)
    positions = torch.cat([torch.arange(n - r, n) for r, n in zip(rows, lengths, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
    slots = pages[owner, positions // PAGE].long() * PAGE + positions % PAGE
    return Step(
        tokens=torch.randint(config.vocab, (sum(rows),), generator=generator).to(DEVICE),
        positions=positions.to(DEVICE),
        slots=slots.to(DEVICE),
        query_starts=torch.tensor([0, *rows]).cumsum(0).to(DEVICE, torch.int32),
        lengths=torch.tensor(lengths, dtype=torch.int32, device=DEVICE),
        pages=pages.to(DEVICE),
    )


def wire(
    config: ModelConfig, found: Registry, target: Target, held: Mapping[str, Tensor],
    cache: list[tuple[Tensor, Tensor]], policy: Policy | None = None,
) -> tuple[Llama, Binder]:  # fmt: skip
    """The model bound for a target, and the binder that remembers what runs where."""
    binder = Binder(found, target, policy)
    return Llama(config, binder, held if isinstance(held, Parameters) else Parameters(held), cache), binder


def logits(model: Llama, s: Step, rows: Tensor) -> Tensor:
    """The logits of a step's rows; of all of them where the model is bound for decoding."""
    return model.decode(s) if hasattr(model, "decode") else model.logits(model.forward(s), rows)
