"""The decode kernel's argument, as kernels/shape.cuh lays it out."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache

from torch import Tensor

LAYER = ("norm", "qkv", "out", "mlp_norm", "gate_up", "down", "keys", "values")
FLOW = ("tokens", "positions", "slots", "lengths", "pages")
WEIGHTS = ("embedding", "norm", "cosines", "sines", "result")
SCRATCH = ("exchange", "epoch", "error", "host_error", "marks")
POINTERS = (*FLOW, *WEIGHTS, *SCRATCH)


class LayerPointers(ctypes.Structure):
    """One layer's weights and caches."""

    _fields_ = [(name, ctypes.c_void_p) for name in LAYER]


@cache
def arguments_type(layers: int) -> type[ctypes.Structure]:
    """The structure for a number of layers."""
    fields: list[tuple[str, type]] = [(name, ctypes.c_void_p) for name in POINTERS]
    fields += [("rows", ctypes.c_int32), ("pages_stride", ctypes.c_int32)]
    fields += [("eps", ctypes.c_float), ("scale", ctypes.c_float), ("layers", LayerPointers * layers)]
    return type("Arguments", (ctypes.Structure,), {"_fields_": fields})


def point(structure: ctypes.Structure, tensors: Mapping[str, Tensor]) -> None:
    """Set pointers by name."""
    for name, tensor in tensors.items():
        setattr(structure, name, tensor.data_ptr())


def point_layers(structure: ctypes.Structure, layers: Sequence[Mapping[str, Tensor | None]]) -> None:
    """Set every layer's pointers that are named."""
    for i, layer in enumerate(layers):
        for name in LAYER:
            tensor = layer.get(name)
            if tensor is not None:
                setattr(structure.layers[i], name, tensor.data_ptr())
