"""Attention of one row a sequence that keeps memory busy from the first page to the last: see kernels/attend.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...registry import Refusal, Requires, Target
from ...registry.op import Function
from .backend import cuda
from .loaded import loaded
from .tensor_map import Words, tensor_map

LEAST_ROWS, MOST_ROWS = 17, 256
MOST_AHEAD = 64  # rows: more ask for so much that the kernel in front is kept from its end
MOST_GROUP = 8  # query heads of a key head: the columns of a matrix instruction
TILE = 16  # positions: its rows
TOGETHER = 2  # blocks of a multiprocessor: while one adds up, the other multiplies
AT_ONCE = 128  # bytes that the L2 cache asks memory for: 256 cost 5 to 8 %
LEAST_SHARED = 76 * 1024  # so that no third block fits: blocks of the next launch would lie unevenly
LOG2E = 1.4426950408889634


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        ("keys", Words), ("values", Words),
        *((name, ctypes.c_void_p) for name in ("queries", "lengths", "pages", "out")),
        *((name, ctypes.c_int64) for name in ("query_row", "query_head", "pages_row")), ("scale", ctypes.c_float),
        ("rows", ctypes.c_int32), ("unused", ctypes.c_int32 * 16),
    ]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """Blocks of a launch, warps of a block, tiles of a warp's ring, and whether it reads before its time."""

    heads: int
    kv_heads: int
    dim: int
    page: int
    grid: int
    warps: int
    stages: int = 2
    ahead: int = 1

    @classmethod
    def of(cls, heads: int, kv_heads: int, dim: int, page: int, multiprocessors: int, rows: int = 64) -> Cut:
        """The one that was fastest; docs/notes/gpu-engine.md has the measurements."""
        ahead = int(rows <= MOST_AHEAD)
        return cls(heads, kv_heads, dim, page, TOGETHER * multiprocessors, 512 // dim, ahead=ahead)

    @property
    def group(self) -> int:
        """Query heads of a key head."""
        return self.heads // self.kv_heads

    @property
    def box(self) -> int:
        """Positions that one copy brings: they are of one page and one tile."""
        return gcd(self.page, TILE)

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        ring, place = self.warps * self.stages * (4 * TILE * self.dim + 8), 4 * self.group * (self.dim + 8)
        needed = 1024 + ring + 2 * self.warps * place + 4 * (MOST_ROWS + self.warps + 2)
        return max(needed, LEAST_SHARED)

    @property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        derived = {"GROUP": self.group, "BOX": self.box, "MOST_ROWS": MOST_ROWS, "CLUSTER": 1}
        return {name.upper(): value for name, value in asdict(self).items()} | derived


def multiprocessors(device: torch.device) -> int:
    """How many there are."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class Attend:
    """The kernel for one shape. A call launches it."""

    def __init__(self, target: Target, cut: Cut, scale: float) -> None:
        self.cut = cut
        self.function = loaded("attend", target, 32 * cut.warps, cut.shared, **cut.defines)
        self.argument: Any = Arguments()
        self.argument.scale = scale * LOG2E
        self._maps: dict[tuple[int, int], ctypes.Array[ctypes.c_uint64]] = {}

    def map(self, cache: Tensor) -> ctypes.Array[ctypes.c_uint64]:
        """How TMA reads a cache."""
        key = cache.data_ptr(), len(cache)
        if key not in self._maps:
            self._maps[key] = tensor_map(cache.view(-1, cache.shape[-1]), self.cut.box, AT_ONCE)
        return self._maps[key]

    def __call__(self, q: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, pages: Tensor) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        a = self.argument
        a.keys, a.values = self.map(keys), self.map(values)
        a.queries, a.lengths, a.pages, a.out = (t.data_ptr() for t in (q, lengths, pages, out))
        a.query_row, a.query_head, a.pages_row, a.rows = q.stride(0), q.stride(1), pages.stride(0), len(q)
        self.function.launch(self.cut.grid, a, programmatic=1)
        return out


def refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel does not attend with these heads, or None."""
    heads, kv_heads, dim, target = bound["heads"], bound["kv_heads"], bound["dim"], bound["target"]
    if target.sm is None or target.sm[0] != 9:
        return "is written for Hopper's own instructions"
    if bound["window"]:
        return "reads all positions, not a window"
    if dim not in (64, 128) or not 0 < heads <= MOST_GROUP * kv_heads <= MOST_GROUP * 64:
        return f"takes heads of 64 or 128 dimensions, up to {MOST_GROUP} of one key head, known when it is bound"
    some = LEAST_ROWS <= target.rows <= MOST_ROWS
    return None if some else f"is the faster one for {LEAST_ROWS} to {MOST_ROWS} rows"


HOPPER = Requires("cuda", frozenset({torch.bfloat16}), min_sm=(9, 0), max_rows=MOST_ROWS, decode=True)


@cuda.kernel(ops.attention, build=True, requires=HOPPER, when=refusal)
def attention(
    target: Target, *, scale: float, window: int = 0, heads: int = 0, kv_heads: int = 0, dim: int = 0
) -> Function:
    """Rows shared out evenly over groups of blocks, one for each key head, none of which waits for another."""
    made: dict[int, Attend] = {}

    def build(page: int) -> Attend:
        assert target.rows is not None
        cut = Cut.of(heads, kv_heads, dim, page, multiprocessors(target.device), target.rows)
        made[page] = Attend(target, cut, scale)
        return made[page]

    build(16)

    def call(
        q: Tensor, k_cache: Tensor, v_cache: Tensor, query_starts: Tensor, lengths: Tensor, pages: Tensor
    ) -> Tensor:
        if not len(q):
            return torch.empty_like(q)
        attend = made.get(k_cache.shape[2]) or build(k_cache.shape[2])
        return attend(q, k_cache, v_cache, lengths, pages)

    return call
