"""The decoder stack in one call: the kernels of its parts, one after another, without the host between them."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Mapping
from ctypes import c_long, c_void_p
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.ops.decode import Caches, Decoder, LayerWeights, projection
from rustinfer.registry import PackedWeight, Requires, Target, Weight

from .attention import Shape
from .backend import DTYPES, cpu
from .cache import Pages
from .embedding import embedding as packed_embedding
from .library import library
from .linear import lm_head
from .norm import add_rms_norm
from .plan import DTYPES as CODES
from .plan import Pinned, Plan, projected, readable, weight_refusal
from .rows import rows

MATRICES = ("qkv", "out", "gate_up", "down")


class Layer(ctypes.Structure):
    """`Layer` of kernels/decode.cpp."""

    _fields_ = [(name, Plan) for name in MATRICES]


class Layers(ctypes.Structure):
    """`Layers` of kernels/decode.cpp."""

    _fields_ = [("count", c_long), ("at", c_void_p), ("attention", c_void_p)]


def _readable(bound: Mapping[str, Any]) -> str | None:
    decoder: Decoder = bound["decoder"]
    table = decoder["embedding"]
    matrices = [w[name] for w in decoder["layers"] for name in MATRICES]  # type: ignore[literal-required]
    told = next(filter(None, map(weight_refusal, matrices)), None) or readable({"weight": decoder["head"]})
    return told or (weight_refusal(table, block=2) if isinstance(table, PackedWeight) else None)


@cpu.kernel(ops.decode_step, requires=Requires("cpu", DTYPES, decode=True), build=True, when=_readable)
def decode_step(
    target: Target, *, decoder: Decoder
) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Caches], Tensor]:
    """A token costs the host one call instead of five a layer; the numbers are those of the parts."""
    dtype = target.dtype
    pinned = [_layer(dtype, decoder, w) for w in decoder["layers"]]
    every = (Layer * len(pinned))(*(Layer(*(p.plan for p in layer)) for layer in pinned))
    shape = Shape(CODES[dtype], decoder["window"], False, (2 * decoder["cos"].shape[1]) ** -0.5)
    stack = Layers(len(every), ctypes.addressof(every), ctypes.addressof(shape))
    run, address, at = library().ri_layers, ctypes.addressof(stack), Addresses()
    look_up = _embedding(target, decoder["embedding"])
    last = add_rms_norm(target, weight=decoder["norm"], eps=decoder["eps"])
    head = lm_head(target, weight=decoder["head"])

    def call(
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        query_starts: Tensor,
        lengths: Tensor,
        pages: Tensor,
        caches: Caches,
        keep: object = (pinned, every, shape, stack),
    ) -> Tensor:
        positions, slots, pages = positions.contiguous(), slots.contiguous(), rows(pages)
        query_starts, lengths = query_starts.contiguous(), lengths.contiguous()
        residual = look_up(tokens)
        x = torch.zeros_like(residual)
        run(
            address, x.data_ptr(), residual.data_ptr(), positions.data_ptr(), slots.data_ptr(),
            query_starts.data_ptr(), lengths.data_ptr(), pages.data_ptr(), pages.stride(0),
            *at(caches), x.shape[0],
        )  # fmt: skip
        logits: Tensor = head(last(x, residual)[0], every_row(x.shape[0]))
        return logits

    return call


def _layer(dtype: torch.dtype, decoder: Decoder, w: LayerWeights) -> tuple[Pinned, Pinned, Pinned, Pinned]:
    qkv = projected(dtype, **projection(decoder, w))
    gate_up = Pinned(dtype, w["gate_up"], decoder["eps"], norm=w["mlp_norm"])
    return qkv, Pinned(dtype, w["out"], bias=w["out_bias"]), gate_up, Pinned(dtype, w["down"])


def _embedding(target: Target, weight: Weight) -> Callable[[Tensor], Tensor]:
    if isinstance(weight, PackedWeight):
        look_up: Callable[[Tensor], Tensor] = packed_embedding(target, weight=weight)
        return look_up
    return lambda tokens: torch.nn.functional.embedding(tokens, weight)


@cache
def every_row(count: int) -> Tensor:
    """The numbers of so many rows."""
    return torch.arange(count)


class Addresses:
    """Where the caches lie, and their page size: found once, since a binding sees the same caches at every call."""

    def __init__(self) -> None:
        self.caches: Caches | None = None
        self.known = (0, 0)

    def __call__(self, caches: Caches) -> tuple[int, int]:
        if caches is not self.caches:
            pairs = [Pages()(k, v) for k, v in caches]
            self.addresses = array("q", [address for k, v, _ in pairs for address in (k, v)])
            self.caches, self.known = caches, (self.addresses.buffer_info()[0], pairs[0][2])
        return self.known
