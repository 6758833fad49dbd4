"""Products of 17 to 32 rows whose weights stream in before the kernel in front has ended: see kernels/few.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import Refusal, Requires, Target, Weight
from ...registry.op import Function
from .backend import cuda
from .loaded import loaded
from .tensor_map import BAND, Words, tensor_map

BF16 = torch.bfloat16
LEAST_ROWS, MOST_ROWS = 17, 32  # fewer or more are as fast by Triton or a library
MOST_OUTPUTS = 3072  # of larger ones no step was timed
THREADS = 160
TILE = 64  # weight rows of a matrix instruction
SHARED = 112 * 1024  # bytes of a block: it leaves room for another, which may be the next kernel's
SPLITS = 4  # blocks that share the columns
POINTERS = ("bias", "out", "positions", "slots", "keys", "values", "cosines", "sines")
STRIDES = ("page_stride", "head_stride", "slot_stride")


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        ("weight", Words), ("x", Words), *((name, ctypes.c_void_p) for name in POINTERS),
        *((name, ctypes.c_int64) for name in STRIDES), ("rows", ctypes.c_int32), ("unused", ctypes.c_int32 * 9),
    ]  # fmt: skip


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
    def of(cls, rows: int, outputs: int, columns: int, dim: int = TILE) -> Cut:
        """The cut for up to `rows` activation rows; a block makes whole heads of `dim` outputs."""
        padded, tiles = next(size for size in (16, 32, 64) if size >= rows), dim // TILE
        splits = next(s for s in (SPLITS, 2, 1) if columns % (s * BAND) == 0)
        stage, rest = (tiles * TILE + padded) * BAND * 2, padded * (tiles * TILE + 4) * 4 + 2048
        return cls(padded, outputs, columns, tiles, splits, min((SHARED - rest) // stage, columns // splits // BAND))

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        stage = (self.tiles * TILE + self.rows) * BAND * 2
        return 1024 + self.stages * (stage + 16) + self.rows * (self.tiles * TILE + 4) * 4

    @property
    def blocks(self) -> int:
        """Blocks of a launch."""
        return self.outputs // (TILE * self.tiles) * self.splits

    @property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        return {name.upper(): value for name, value in asdict(self).items()}


def refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel does not multiply by this weight, or None."""
    weight, target = bound["weight"], bound["target"]
    if not isinstance(weight, Tensor) or not weight.is_contiguous():
        return "reads dense contiguous weights"
    if target.rows is None or target.rows < LEAST_ROWS:
        return f"takes {LEAST_ROWS} to {MOST_ROWS} rows"
    if target.sm is None or target.sm[0] != 9:
        return "is written for Hopper's own instructions"
    if weight.shape[0] > MOST_OUTPUTS:
        return f"takes up to {MOST_OUTPUTS} outputs, not {weight.shape[0]}"
    if weight.shape[0] % TILE or weight.shape[1] % BAND:
        return f"takes outputs and columns in blocks of {TILE} and {BAND}, not {tuple(weight.shape)}"
    if "cos" in bound and 2 * bound["cos"].shape[1] not in (64, 128):
        return "takes heads of 64 or 128 dimensions"
    return None


HOPPER = Requires("cuda", frozenset({BF16}), min_sm=(9, 0), max_rows=MOST_ROWS)


class Product:
    """The kernel for one weight. A call launches it with x [rows, columns] and tensors by the names of POINTERS."""

    def __init__(self, target: Target, weight: Tensor, bias: Tensor | None = None, **more: int) -> None:
        outputs, columns = weight.shape
        self.cut = Cut.of(target.rows or MOST_ROWS, outputs, columns, more.get("DIM", TILE))
        self.function = loaded("few", target, THREADS, self.cut.shared, **self.cut.defines, **more)
        self.argument: Any = Arguments()
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


@cuda.kernel(ops.linear, build=True, requires=HOPPER, when=refusal)
def linear(target: Target, *, weight: Weight, bias: Tensor | None = None) -> Function:
    """A share of the columns in each block of a cluster, whose sums meet in shared memory."""
    assert isinstance(weight, Tensor)
    product = Product(target, weight, bias, HEADS=0)

    def call(x: Tensor) -> Tensor:
        out = torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device=x.device)
        if out.numel():
            product(x.flatten(0, -2), out=out)
        return out

    return call


@cuda.kernel(ops.qkv_rope_write, build=True, requires=HOPPER, when=refusal)
def qkv_rope_write(
    target: Target, *, weight: Weight, bias: Tensor | None = None, cos: Tensor, sin: Tensor, heads: int, kv_heads: int
) -> Function:
    """A block makes whole heads, so that it can rotate them and write them where they belong."""
    assert isinstance(weight, Tensor)
    dim = 2 * cos.shape[1]
    made: dict[int, Product] = {}

    def build(page: int) -> Product:
        shape = {"HEADS": heads, "KV_HEADS": kv_heads, "DIM": dim, "PAGE": page}
        made[page] = Product(target, weight, bias, **shape)
        return made[page]

    build(16)

    def call(x: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        q = torch.empty((len(x), heads, dim), dtype=x.dtype, device=x.device)
        if q.numel():
            product = made.get(k_cache.shape[2]) or build(k_cache.shape[2])
            for name, stride in zip(STRIDES, k_cache.stride(), strict=False):
                setattr(product.argument, name, stride)
            product(x, out=q, positions=positions, slots=slots, keys=k_cache, values=v_cache, cosines=cos, sines=sin)
        return q

    return call
