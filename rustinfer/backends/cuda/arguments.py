"""The decode kernel's argument, as kernels/shape.cuh lays it out."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache

from ...registry import PackedWeight, Weight

MATRICES = ("qkv", "out", "gate_up", "down")
FLOW = ("tokens", "positions", "slots", "lengths", "pages")
DRAWS = ("newest", "begin", "seeds", "temperature", "told", "stop")


def parts(name: str) -> tuple[str, str, str]:
    """The pointers of a matrix: its data, and what it has of scales and zeros."""
    return name, f"{name}_scales", f"{name}_zeros"


LAYER = ("norm", "mlp_norm", "keys", "values", *(part for name in MATRICES for part in parts(name)))
WEIGHTS = ("norm", *parts("embedding"), *parts("head"), "cosines", "sines", "logits")
SCRATCH = ("exchange", "winners", "epoch", "error", "host_error", "marks")
POINTERS = (*FLOW, *DRAWS, *WEIGHTS, *SCRATCH)


class LayerPointers(ctypes.Structure):
    """One layer's weights and caches."""

    _fields_ = [(name, ctypes.c_void_p) for name in LAYER]


@cache
def arguments_type(layers: int) -> type[ctypes.Structure]:
    """The structure for a number of layers."""
    fields: list[tuple[str, type]] = [(name, ctypes.c_void_p) for name in POINTERS]
    fields += [(name, ctypes.c_int32) for name in ("rows", "pages_stride", "count", "unused")]
    fields += [("eps", ctypes.c_float), ("scale", ctypes.c_float), ("layers", LayerPointers * layers)]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields})


def point(structure: ctypes.Structure, weights: Mapping[str, Weight | None]) -> None:
    """Set pointers by name; those of a packed weight's data, scales and zeros."""
    for name, weight in weights.items():
        tensors = (weight.data, weight.scales, weight.zeros) if isinstance(weight, PackedWeight) else (weight,)
        for part, tensor in zip(parts(name), tensors, strict=False):
            if tensor is not None:
                setattr(structure, part, tensor.data_ptr())


def point_layers(structure: ctypes.Structure, layers: Sequence[Mapping[str, Weight | None]]) -> None:
    """Set pointers of each layer."""
    for at, layer in zip(structure.layers, layers, strict=True):
        point(at, {name: layer[name] for name in layer if name in LAYER})
