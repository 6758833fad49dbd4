"""Gate, up and SiLU of 65 to 256 rows: see kernels/wide.cu."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from ...registry import Refusal, Target
from .loaded import loaded
from .tensor_map import BAND, Words, halves_map, tensor_map

MOST_ROWS = 256
SHARED = 226  # KiB of a block
BLOCKS = 132  # multiprocessors of the chip that this is written for
BUSY = 110  # of them, at least
WIDTHS = (256, 224, 128, 112)  # outputs that a matrix instruction is declared for
TO_BLOCKS = 3130  # bytes a cycle from L2 to all multiprocessors, as measured


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        ("weight", Words), ("x", Words), ("out", ctypes.c_void_p), ("rows", ctypes.c_int32),
        ("unused", ctypes.c_int32 * 13),
    ]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """A block's outputs; its warp groups, and how often each has 64 rows; a cluster's blocks."""

    outputs: int
    columns: int
    width: int
    groups: int
    height: int
    down: int
    along: int
    stages: int = 0

    @classmethod
    def all_of(cls, rows: int, outputs: int, columns: int) -> Iterator[Cut]:
        """Those that cover the product without a rest; docs/notes/gpu-engine.md has the measurements."""
        wide = (2, 2, 1, 2) if columns > 2048 else (2, 1, 2, 1)
        groups, height, down, along = (1, 1, 1, 2) if rows <= 64 else (2, 1, 1, 2) if rows <= 128 else wide
        for width in WIDTHS:
            if outputs % (width * along) == 0 and columns % BAND == 0 and width * height <= 256:
                yield cls(outputs, columns, width, groups, height, down, along)

    @property
    def rows(self) -> int:
        """Of a block."""
        return self.groups * self.height * 64

    @property
    def cluster(self) -> int:
        """Blocks."""
        return self.down * self.along

    @property
    def rounds(self) -> int:
        """Tiles of a block."""
        return -(-self.outputs // self.width // self.along // (BLOCKS // self.cluster))

    @property
    def blocks(self) -> int:
        """Of a launch, each with as many tiles as all others, if that goes."""
        return -(-self.outputs // self.width // self.along // self.rounds) * self.cluster

    @property
    def cycles(self) -> float:
        """What a multiprocessor takes for the steps of its tiles: multiplying, or being told what."""
        multiply = self.rows * self.width / 32
        told = (self.rows / self.along + self.width / self.down) * BAND * 2 * self.blocks / TO_BLOCKS
        return self.rounds * self.columns / BAND * max(multiply, told)

    @property
    def threads(self) -> int:
        """Of a block: one warp more, which copies."""
        return self.groups * 128 + 32

    @property
    def stage(self) -> int:
        """Bytes of a step of 64 columns."""
        return (self.rows + self.width) * BAND * 2

    @property
    def depth(self) -> int:
        """Stages of the ring."""
        return self.stages or min((SHARED * 1024 - 1024) // (self.stage + 16), self.columns // BAND)

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        return 1024 + self.depth * (self.stage + 16)

    @property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        more = {"stages": self.depth, "blocks": self.blocks}
        return {name.upper(): value for name, value in (asdict(self) | more).items()}


def cut_of(rows: int, outputs: int, columns: int) -> Cut | None:
    """The one that should take the least time, if any covers the product."""
    return min(Cut.all_of(rows, outputs, columns), key=lambda cut: cut.cycles, default=None)


def refusal(bound: Mapping[str, Any]) -> Refusal:
    """Why the kernel does not multiply by this weight, whose form is known to be readable, or None."""
    (outputs, columns), target = bound["weight"].shape, bound["target"]
    if 128 < target.rows <= 192:
        return "is not the faster one for 129 to 192 rows"
    cut = cut_of(target.rows, outputs, columns)
    if cut is None or cut.blocks < BUSY:
        return f"has no tiles for {outputs} outputs of {columns} columns that keep {BUSY} multiprocessors busy"
    return None


class Product:
    """The kernel for one weight. A call launches it with x [rows, columns] and `out`."""

    def __init__(self, target: Target, weight: Tensor, cut: Cut | None = None) -> None:
        outputs, columns = weight.shape
        cut = cut or cut_of(target.rows or MOST_ROWS, outputs, columns)
        assert cut is not None
        self.cut = cut
        self.function = loaded("wide", target, cut.threads, cut.shared, **cut.defines)
        self.argument: Any = Arguments()
        self.argument.weight = halves_map(weight, cut.width // cut.down)
        self._kept, self._x = weight, (0, 0, 0)

    def __call__(self, x: Tensor, *, out: Tensor) -> None:
        x = x if x.stride(1) == 1 and not (x.data_ptr() | 2 * x.stride(0)) % 16 else x.contiguous()
        place = x.data_ptr(), len(x), x.stride(0)
        if place != self._x:
            self.argument.x, self._x = tensor_map(x, self.cut.rows // self.cut.along), place
        self.argument.out, self.argument.rows = out.data_ptr(), len(x)
        self.function.launch(self.cut.blocks, self.argument, cluster=self.cut.cluster, programmatic=1)
