"""Checkpoints whose matrices are stored in fp8 (e4m3), beside scales: a scale a tensor, a row, or a block of both axes.

Read as they are: weights stay packed, and activations keep their 16 bits, whatever a checkpoint says of those. So no
scale of an input is used, which costs no accuracy. A cache that the checkpoint wants in fp8 stays in 16 bits, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..registry import FP8, PackedWeight, Weight
from .checked import Stored
from .errors import CheckpointError
from .shards import Shards

METHODS = ("fp8", "fbgemm_fp8", "compressed-tensors")
SCALES = ("_scale", "_scale_inv")
"""Endings of the names of a weight's scales. Both multiply; the second is the inverse of what once multiplied."""
SIDE = (*(f".weight{ending}" for ending in SCALES), ".input_scale", ".k_scale", ".v_scale")


def readable(table: object) -> str | None:
    """Why weights quantised so (the table `quantization_config`) cannot be read, or None."""
    method = table.get("quant_method") if isinstance(table, Mapping) else None
    if method not in METHODS or not isinstance(table, Mapping):
        return f"weights quantised by {method!r} are not read"
    if method == "compressed-tensors" and table.get("format") not in ("float-quantized", "naive-quantized"):
        return f"weights in the form {table.get('format')!r} of compressed-tensors are not read, only 'float-quantized'"
    return None


class Fp8Weights(Stored):
    """Weights of shards; those in fp8 are packed with their scales when looked up. Raises CheckpointError."""

    def __init__(self, shards: Shards, block: object = None) -> None:
        self.shards = shards
        self.names = dict.fromkeys(name for name in shards if not name.endswith(SIDE))
        self._block = _sizes(block, str(shards.directory))

    def __getitem__(self, name: str) -> Weight:
        if name not in self.shards or self.shards.dtype_of(name) is not torch.float8_e4m3fn:
            return self.shards[name]
        data = self.shards.stored(name)
        if data.dim() != 2:
            raise CheckpointError(f"{self.shards.directory}: {name} is in fp8 and no matrix")
        scales = self._spread(name, *data.shape)
        dtype = self.shards.dtype or torch.bfloat16
        return PackedWeight(FP8, data, scales, None, data.shape[1] // scales.shape[1], data.shape, dtype)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shards.shape(name)

    def _spread(self, name: str, rows: int, columns: int) -> Tensor:
        """The scales as [rows, groups] in float32, whatever they stand for in the file."""
        key = next((f"{name}{ending}" for ending in SCALES if f"{name}{ending}" in self.shards), None)
        if key is None:
            raise CheckpointError(f"{self.shards.directory}: {name} is in fp8 and has no scales")
        scales = self.shards.stored(key).float()
        if scales.numel() == 1:
            return scales.reshape(1, 1).repeat(rows, 1)
        if scales.numel() == rows and scales.shape[0] == rows:
            return scales.reshape(rows, 1).contiguous()
        tall, wide = self._block
        if tuple(scales.shape) != (-(-rows // tall), columns // wide) or columns % wide:
            raise CheckpointError(
                f"{self.shards.directory}: {key} is {[*scales.shape]}, which for {[rows, columns]} is neither one scale"
                f" nor one a row nor one a block of {tall} x {wide}"
            )
        return scales.repeat_interleave(tall, 0)[:rows].contiguous()


def block_of(table: Mapping[str, Any]) -> object:
    """The sizes of a block as `quantization_config` has them, unchecked; None where it names none."""
    if "weight_block_size" in table:
        return table["weight_block_size"]
    groups = table.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping) and weights.get("block_structure"):
            return weights["block_structure"]
    return None


def _sizes(block: object, where: str) -> tuple[int, int]:
    if block is None:
        return 128, 128
    if not isinstance(block, list) or len(block) != 2 or not all(type(n) is int and n > 0 for n in block):
        raise CheckpointError(f"{where}: quantization_config: a block of {str(block)[:40]} is no pair of sizes")
    return block[0], block[1]
