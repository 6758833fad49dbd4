"""Products of one row, whose weights stream in before the kernel in front has ended: see kernels/one.cu."""

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

WARPS, EACH = 8, 4  # warps of a block, and weight rows that one multiplies at once
WARP, CHUNK = 256, 512  # columns that a warp reads at once, and that a stage of its ring has, where the weight has them
MEMORY = 220  # KiB of a block: where two have room, they gather behind attention, and others stand idle
LEAST, MOST = 2048, 32768  # columns of a weight: fewer were not timed, more leave no room for a ring
READS = ("x", "residual", "norm", "weight", "bias", "total", "out", "positions", "slots", "keys", "values", "cosines")
POINTERS = (*READS, "sines")
STRIDES = ("page_stride", "head_stride", "slot_stride")
PLAIN = {"NORM": 0, "GATED": 0, "HEADS": 0, "KV_HEADS": 0, "DIM": 2, "PAGE": 1}


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in POINTERS), *((name, ctypes.c_int64) for name in STRIDES),
        ("eps", ctypes.c_float), ("unused", ctypes.c_int32),
    ]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """Blocks and their warps; weight rows that a warp multiplies at once, columns of a stage, stages of a ring."""

    outputs: int
    columns: int
    blocks: int
    chunk: int
    stages: int
    warps: int = WARPS
    each: int = EACH

    @classmethod
    def of(cls, outputs: int, columns: int, blocks: int) -> Cut:
        """The cut for a weight [outputs, columns]."""
        chunk = next(size for size in (CHUNK, WARP) if columns % size == 0)
        return cls(outputs, columns, blocks, chunk, (MEMORY * 1024 - 2 * columns - 1024) // (WARPS * EACH * chunk * 2))

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        return self.warps * (self.stages * (self.each * self.chunk * 2 + 8) + 4) + 2 * self.columns

    @property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        return {name.upper(): value for name, value in asdict(self).items()}


def refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel does not multiply by this weight, or None."""
    weight, target = bound["weight"], bound["target"]
    if target.rows != 1:
        return "takes one row"
    if not isinstance(weight, Tensor) or not weight.is_contiguous():
        return "reads dense contiguous weights"
    if target.sm is None or target.sm[0] != 9:
        return "is written for Hopper's own instructions"
    outputs, columns = weight.shape
    if outputs % EACH or columns % WARP:
        return f"takes outputs and columns in blocks of {EACH} and {WARP}, not {outputs} and {columns}"
    return None if LEAST <= columns <= MOST else f"is the faster one for {LEAST} to {MOST} columns"


def rotated_refusal(bound: Mapping[str, Any]) -> Refusal:
    """The same of queries, keys and values."""
    return refusal(bound) or (None if bound["cos"].shape[1] % 4 == 0 else "takes heads of a multiple of 8 dimensions")


def multiprocessors(target: Target) -> int:
    """How many blocks run at once; emulated, a few."""
    return torch.cuda.get_device_properties(target.device).multi_processor_count if target.device.type == "cuda" else 3


class Product:
    """The kernel for one weight. A call launches it with x [1, columns] and tensors by the names of POINTERS."""

    def __init__(
        self, target: Target, weight: Tensor, bias: Tensor | None = None, eps: float = 0.0, **how: int
    ) -> None:
        outputs, columns = weight.shape
        self.cut = Cut.of(outputs, columns, multiprocessors(target))
        threads, constants = 32 * self.cut.warps, self.cut.defines | PLAIN | how
        self.function = loaded("one", target, threads, self.cut.shared, **constants)
        self.argument: Any = Arguments(
            weight=weight.data_ptr(), bias=None if bias is None else bias.data_ptr(), eps=eps
        )
        self._kept = weight, bias

    def __call__(self, **pointers: Tensor) -> None:
        for name, tensor in pointers.items():
            setattr(self.argument, name, tensor.data_ptr())
        self.function.launch(self.cut.blocks, self.argument, programmatic=1)


def aligned(x: Tensor) -> Tensor:
    """x, or a copy that can be read in units of 16 bytes."""
    return x if x.is_contiguous() and x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


HOPPER = Requires("cuda", frozenset({torch.bfloat16}), min_sm=(9, 0), max_rows=1)


def linear(target: Target, weight: Weight, bias: Tensor | None) -> Function:
    """A plain product."""
    assert isinstance(weight, Tensor)
    product = Product(target, weight, bias)

    def call(x: Tensor) -> Tensor:
        out = torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device=x.device)
        if out.numel():
            product(x=aligned(x), out=out)
        return out

    return call


@cuda.kernel(ops.norm_gate_up_silu, build=True, requires=HOPPER, when=refusal)
def norm_gate_up_silu(target: Target, *, norm: Tensor, eps: float, weight: Weight) -> Function:
    """Every block normalises the row for itself while its weights arrive; a warp has gate and up of the same units."""
    assert isinstance(weight, Tensor)
    norm = aligned(norm)
    product, hidden = Product(target, weight, None, eps, NORM=1, GATED=1), weight.shape[0] // 2

    def call(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        out = torch.empty((len(x), hidden), dtype=x.dtype, device=x.device)
        total = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if out.numel():
            product(x=aligned(x), residual=aligned(residual), norm=norm, total=total, out=out)
        return out, total

    return call


@cuda.kernel(ops.norm_qkv_rope_write, build=True, requires=HOPPER, when=rotated_refusal)
def norm_qkv_rope_write(
    target: Target,
    *,
    norm: Tensor,
    eps: float,
    weight: Weight,
    bias: Tensor | None = None,
    cos: Tensor,
    sin: Tensor,
    heads: int,
    kv_heads: int,
) -> Function:
    """The same of queries, keys and values; a warp has both halves of what it rotates."""
    assert isinstance(weight, Tensor)
    norm, dim = aligned(norm), 2 * cos.shape[1]
    made: dict[int, Product] = {}

    def build(page: int) -> Product:
        shape = {"HEADS": heads, "KV_HEADS": kv_heads, "DIM": dim, "PAGE": page}
        made[page] = Product(target, weight, bias, eps, NORM=1, **shape)
        return made[page]

    build(16)

    def call(
        x: Tensor, residual: Tensor, positions: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor
    ) -> tuple[Tensor, Tensor]:
        q = torch.empty((len(x), heads, dim), dtype=x.dtype, device=x.device)
        total = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        if q.numel():
            product = made.get(k_cache.shape[2]) or build(k_cache.shape[2])
            for name, stride in zip(STRIDES, k_cache.stride(), strict=False):
                setattr(product.argument, name, stride)
            product(x=aligned(x), residual=aligned(residual), norm=norm, total=total, out=q, positions=positions,
                    slots=slots, keys=k_cache, values=v_cache, cosines=cos, sines=sin)  # fmt: skip
        return q, total

    return call
