"""Whether the weights find room, and how much memory is left for the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import torch

from ..errors import Refused, UserError
from ..models import Parameters
from ..models.checkpoint import Checkpoint
from ..models.config import ModelConfig
from ..models.model import ModelBuilder
from ..models.quantise import packed_bytes
from ..models.shapes import weight_shapes
from ..registry import Binder, Target
from .machine import free_memory
from .options import Options
from .storage import allocate, warm_up

GRAPHS = 1 << 30
"""Bytes set aside for what graphs and libraries keep for themselves."""


def require_room(checkpoint: Checkpoint, options: Options) -> None:
    """Raise Refused for weights that cannot fit: before any is read, for afterwards the system ends somebody."""
    needed = least_bytes(checkpoint, options.quantization)
    free = free_on_gpu() if options.device == "cuda" else free_memory()
    if needed > free:
        packs = options.quantization is None and least_bytes(checkpoint, "int4") <= free
        raise Refused(
            f"{checkpoint.name}: its weights take {needed / 2**30:.1f} GiB or more, and {free / 2**30:.1f} GiB of "
            f"memory are free: take a smaller model{', or pack dense weights with --quantization int4' * packs}"
        )


def free_on_gpu() -> int:
    """What nobody holds, and what torch keeps in this process for the next tensors."""
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def least_bytes(checkpoint: Checkpoint, quantization: str | None = None) -> int:
    """What the weights take at least: packed ones may take less than their shapes say, but no less than their files."""
    shapes, itemsize = weight_shapes(checkpoint.config), checkpoint.dtype.itemsize
    if quantization is not None:
        return packed_bytes(shapes, quantization, itemsize)
    return min(sum(map(prod, shapes.values())) * itemsize, stored_bytes(checkpoint))


def stored_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of all weights: the files' sizes, or for random weights what their shapes take."""
    root = Path(checkpoint.root)
    files = [root] if root.is_file() else list(root.glob("*.safetensors"))
    if files:
        return sum(file.stat().st_size for file in files)
    return sum(map(prod, weight_shapes(checkpoint.config).values())) * checkpoint.dtype.itemsize


def cache_bytes(
    config: ModelConfig,
    builder: ModelBuilder,
    parameters: Parameters,
    target: Target,
    options: Options,
    bind: Callable[[Target], Binder],
) -> int:
    """On a CPU the free memory. On a GPU what the largest step leaves of the share that may be used: it is run.

    Raises UserError where nothing is left.
    """
    if target.device.type == "cpu":
        return free_memory()
    each = min(options.tokens // options.sequences, config.context)
    cache = allocate(builder.cache_spec(config), -(-each // options.block_size), options.block_size, target)
    model = builder(replace(config, context=max(each, 1)), bind(target), parameters, cache)
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    logits = warm_up(model, target.device, each, options.sequences)
    # Sampling may need as much again: scaled logits, and lists of candidates.
    step = torch.cuda.max_memory_allocated() - held + 2 * logits.nbytes
    del logits, model, cache
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    left = int(total * options.gpu_memory_utilization) - (total - free) - step - GRAPHS
    if left <= 0:
        raise UserError(
            f"the model and its largest step take {(total - free + step + GRAPHS) >> 20} MiB and "
            f"{options.gpu_memory_utilization:g} of {total >> 20} MiB may be used: raise --gpu-memory-utilization, "
            "or lower --max-num-batched-tokens"
        )
    return left
