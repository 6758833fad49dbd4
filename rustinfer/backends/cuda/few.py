"""Products of 9 to 64 rows whose weights stream in before the kernel in front has ended: see kernels/few.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import Refusal, Requires, Target, Weight
from ...registry.op import Function
from . import one, wide
from .backend import cuda
from .loaded import loaded
from .tensor_map import BAND, Words, tensor_map

BF16 = torch.bfloat16
LEAST_ROWS, MOST_ROWS = 9, 64
NARROW = 3072  # outputs: so few leave multiprocessors idle unless blocks share the columns
THREADS = 160
TILE = 64  # weight rows of a matrix instruction
BESIDE, ALONE = 112, 220  # KiB of a block: with room for another beside it, which may be the next kernel's, or without
POINTERS = ("bias", "out", "positions", "slots", "keys", "values", "cosines", "sines")
STRIDES = ("page_stride", "head_stride", "slot_stride")
ABOUT_A_NORM = ("residual", "norm", "total", "squares")  # pointers, too


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        ("weight", Words), ("x", Words), *((name, ctypes.c_void_p) for name in POINTERS),
        *((name, ctypes.c_int64) for name in STRIDES), ("rows", ctypes.c_int32), ("eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ABOUT_A_NORM),
    ]  # fmt: skip


def shape(rows: int, outputs: int, dim: int, gated: bool) -> tuple[int, int, int]:
    """Tiles, shares of the columns, KiB of shared memory; docs/notes/gpu-engine.md has the measurements."""
    if gated:
        return 2, 2, BESIDE
    beside = outputs <= NARROW or (dim > TILE and rows <= 32)
    return (dim // TILE, 4, BESIDE) if beside else (dim // TILE, 2, ALONE)


@dataclass(frozen=True)
class Cut:
    """A block's 64-row tiles of the weight, the blocks that share the columns, and the stages of a pipeline."""

    rows: int
    outputs: int
    columns: int
    tiles: int
    splits: int
    stages: int

    @classmethod
    def of(cls, rows: int, outputs: int, columns: int, dim: int = TILE, *, gated: bool = False) -> Cut:
        """The cut for up to `rows` activation rows; a block makes whole heads of `dim` outputs."""
        padded = next(size for size in (16, 32, 64) if size >= rows)
        tiles, most, shared = shape(padded, outputs, dim, gated)
        splits = next(s for s in (most, 2, 1) if columns % (s * BAND) == 0)
        stage, rest = (tiles * TILE + padded) * BAND * 2, padded * (tiles * TILE + 4) * 4 + 2048
        stages = min((shared * 1024 - rest) // stage, columns // splits // BAND)
        return cls(padded, outputs, columns, tiles, splits, stages)

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        stage, sums = (self.tiles * TILE + self.rows) * BAND * 2, self.rows * (self.tiles * TILE + 4) * 4
        return 1024 + 8 + max(self.stages * stage, sums) + 16 * self.stages + sums + 4 * self.rows

    @property
    def blocks(self) -> int:
        """Blocks of a launch."""
        return self.outputs // (TILE * self.tiles) * self.splits

    @property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        return {name.upper(): value for name, value in asdict(self).items()}


def unreadable(bound: Mapping[str, Any]) -> Refusal:
    """Why no kernel of these reads the weight, or None."""
    weight, target = bound["weight"], bound["target"]
    if not isinstance(weight, Tensor) or not weight.is_contiguous():
        return "reads dense contiguous weights"
    if target.sm is None or target.sm[0] != 9:
        return "is written for Hopper's own instructions"
    return None


def refusal(bound: Mapping[str, Any], most: int = 4096, rows: tuple[int, int] = (17, MOST_ROWS)) -> Refusal:
    """Why the kernel does not multiply by this weight, or None. More outputs than NARROW: up to `most`, of `rows`."""
    if said := unreadable(bound):
        return said
    (outputs, columns), target = bound["weight"].shape, bound["target"]
    if outputs % TILE or columns % BAND:
        return f"takes outputs and columns in blocks of {TILE} and {BAND}, not {outputs} and {columns}"
    least, last = (LEAST_ROWS, MOST_ROWS) if outputs <= NARROW else rows
    if target.rows is None or not least <= target.rows <= last:
        return f"is the faster one for {least} to {last} rows"
    return f"is the faster one for up to {most} outputs" if outputs > max(most, NARROW) else None


def rotated_refusal(bound: Mapping[str, Any]) -> Refusal:
    """The same of queries, keys and values."""
    dim = 2 * bound["cos"].shape[1]
    timed = 17, MOST_ROWS if dim > TILE else 32
    return refusal(bound, 6144, timed) or (None if dim in (64, 128) else "takes heads of 64 or 128 dimensions")


def of_many(target: Target) -> bool:
    """Whether gate and up are those of kernels/wide.cu."""
    return target.rows is not None and MOST_ROWS < target.rows <= wide.MOST_ROWS


def gated_refusal(bound: Mapping[str, Any]) -> Refusal:
    """The same of gate and up, of which each must come in whole tiles."""
    if of_many(bound["target"]):
        return unreadable(bound) or wide.refusal(bound)
    outputs, columns = bound["weight"].shape
    if outputs % (2 * TILE) or columns > 2048:
        return f"takes hidden units in blocks of {TILE}, and is the faster one for up to 2048 columns"
    return refusal(bound, 16384, (LEAST_ROWS, 32))


HOPPER = Requires("cuda", frozenset({BF16}), min_sm=(9, 0), max_rows=MOST_ROWS)


class Product:
    """The kernel for one weight. A call launches it with x [rows, columns] and tensors by the names of the pointers.

    norm: 0, or 1 in front of one and 2 behind one, as kernels/few.cu says.
    """

    def __init__(
        self,
        target: Target,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        norm: int = 0,
        eps: float = 0.0,
        **more: int,
    ) -> None:
        outputs, columns = weight.shape
        self.cut = Cut.of(target.rows or MOST_ROWS, outputs, columns, more.get("DIM", TILE), gated=bool(more["GATED"]))
        self.function = loaded("few", target, THREADS, self.cut.shared, **self.cut.defines, **more, NORM=norm)
        self.argument: Any = Arguments(eps=eps)
        self.argument.weight = tensor_map(weight, TILE)
        self.argument.bias = None if bias is None else bias.data_ptr()
        self._kept, self._x = (weight, bias), (0, 0, 0)

    def __call__(self, x: Tensor, **pointers: Tensor) -> None:
        x = x if x.stride(1) == 1 and not (x.data_ptr() | 2 * x.stride(0)) % 16 else x.contiguous()
        place = x.data_ptr(), len(x), x.stride(0)
        if place != self._x:
            self.argument.x, self._x = tensor_map(x, self.cut.rows), place
        for name, tensor in pointers.items():
            setattr(self.argument, name, tensor.data_ptr())
        self.argument.rows = len(x)
        self.function.launch(self.cut.blocks, self.argument, cluster=self.cut.splits, programmatic=1)


def multipliable(bound: Mapping[str, Any]) -> Refusal:
    """The same of a plain product, for which one row has a kernel of its own."""
    return one.refusal(bound) if bound["target"].rows == 1 else refusal(bound)


@cuda.kernel(ops.linear, build=True, requires=HOPPER, when=multipliable)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """A share of the columns in each block of a cluster, whose sums meet in shared memory."""
    assert isinstance(weight, Tensor)
    if target.rows == 1:
        return one.linear(target, weight, bias)
    product = Product(target, weight, bias, HEADS=0, GATED=0)

    def call(x: Tensor) -> Tensor:
        out = torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device=x.device)
        if out.numel():
            product(x.flatten(0, -2), out=out)
        return out

    return call


@cuda.kernel(ops.gate_up_silu, build=True, requires=replace(HOPPER, max_rows=wide.MOST_ROWS), when=gated_refusal)
def gate_up_silu(target: Target, *, weight: Weight) -> Function:
    """Gate and up rows side by side in a block; the activation is its epilogue."""
    return gated(target, weight)


def gated(target: Target, weight: Weight, **norm: Any) -> Function:
    """x -> hidden; behind a norm, whose words `Product` takes, with squares=."""
    assert isinstance(weight, Tensor)
    hidden = weight.shape[0] // 2
    if of_many(target):
        product: Product | wide.Product = wide.Product(target, weight)
    else:
        product = Product(target, weight, HEADS=0, GATED=1, **norm)

    def call(x: Tensor, **squares: Tensor) -> Tensor:
        out = torch.empty((len(x), hidden), dtype=x.dtype, device=x.device)
        if out.numel():
            product(x, out=out, **squares)
        return out

    return call


@cuda.kernel(ops.qkv_rope_write, build=True, requires=HOPPER, when=rotated_refusal)
def qkv_rope_write(
    target: Target, *, weight: Weight, bias: Tensor | None = None, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
) -> Function:
    """A block makes whole heads, so that it can rotate them and write them where they belong."""
    return rotated(target, weight, bias, cos, sin, heads, kv_heads)


def rotated(
    target: Target,
    weight: Weight,
    bias: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
    **norm: Any,
) -> Function:
    """(x, positions, slots, caches) -> q; behind a norm as `gated`."""
    assert isinstance(weight, Tensor)
    dim = 2 * cos.shape[1]
    made: dict[int, Product] = {}

    def build(page: int) -> Product:
        shape = {"HEADS": heads, "KV_HEADS": kv_heads, "DIM": dim, "PAGE": page, "GATED": 0}
        made[page] = Product(target, weight, bias, **shape, **norm)
        return made[page]

    build(16)

    def call(
        x: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor, **squares: Tensor
    ) -> Tensor:
        q = torch.empty((len(x), heads, dim), dtype=x.dtype, device=x.device)
        if q.numel():
            product = made.get(k_cache.shape[2]) or build(k_cache.shape[2])
            for name, stride in zip(STRIDES, k_cache.stride(), strict=False):
                setattr(product.argument, name, stride)
            flow = {"positions": positions, "slots": slots, "keys": k_cache, "values": v_cache}
            product(x, out=q, **flow, cosines=cos, sines=sin, **squares)
        return q

    return call
