"""Walking over the arguments and results of an op: tensors inside tuples, dicts and packed weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import PackedWeight


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure with each tensor changed; what is no tensor stays as it is."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, PackedWeight):
        return value.each(change)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(item, change) for item in value)
    return value


def tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a structure, with a name to call it by."""
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(value, collect)
    yield from ((name if len(found) == 1 else f"{name}[{i}]", tensor) for i, tensor in enumerate(found))


def copied(value: Any) -> Any:
    """A copy with the same strides; views of one storage stay views of one storage."""
    memo: dict[int, Any] = {}
    return mapped(value, lambda tensor: deepcopy(tensor, memo))


def doubled(value: Any) -> Any:
    """The same in float64: floating tensors converted, packed weights set to dequantise to it."""
    if isinstance(value, PackedWeight):
        return value.astype(torch.float64)
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(doubled(item) for item in value)
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same bits, and so do the parts of their storages that they do not show."""
    return torch.equal(storage(a), storage(b)) if a.stride() == b.stride() else bits(a) == bits(b)


def storage(tensor: Tensor) -> Tensor:
    """All bytes that the tensor's storage holds."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def bits(tensor: Tensor) -> bytes:
    """The tensor's own elements as bytes."""
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
