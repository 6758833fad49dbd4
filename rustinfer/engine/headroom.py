"""How much memory is left for the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ..errors import UserError
from ..models import Parameters
from ..models.config import ModelConfig
from ..models.model import ModelBuilder
from ..registry import Binder, Target
from .machine import free_memory
from .options import Options
from .storage import allocate, warm_up

GRAPHS = 1 << 30
"""Bytes set aside for what graphs and libraries keep for themselves."""


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
