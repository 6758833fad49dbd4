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
BUSY = 110  # blocks of a launch, at least, of 132 multiprocessors
WIDTHS = (224, 256, 128)  # outputs that a matrix instruction is declared for
WAYS = {  # by the most rows: warp groups, each with 64, and a cluster's blocks along rows and along outputs
    128: ((2, 1, 2),),
    256: ((2, 2, 1), (2, 2, 2)),
}
CLUSTERS = {2: 66, 4: 28}  # that run at once on any card, by their blocks
FROM_MEMORY, TO_BLOCKS = 2400, 3130  # bytes a cycle for the whole chip, the second from L2; as measured


class Arguments(ctypes.Structure):
    """The kernel's argument."""

    _fields_ = [
        ("weight", Words), ("x", Words), ("out", ctypes.c_void_p), ("rows", ctypes.c_int32),
        ("unused", ctypes.c_int32 * 13),
    ]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """A block's outputs; its warp groups, each of 64 rows; a cluster's blocks along rows and along outputs."""

    outputs: int
    columns: int
    width: int
    groups: int
    down: int
    along: int
    stages: int = 0

    @classmethod
    def all_of(cls, rows: int, outputs: int, columns: int) -> Iterator[Cut]:
        """Those that cover the product without a rest; docs/notes/gpu-engine.md has the measurements."""
        for groups, down, along in next(ways for most, ways in WAYS.items() if rows <= most):
            for width in WIDTHS:
                if outputs % (width * along) == 0 and columns % BAND == 0:
                    yield cls(outputs, columns, width, groups, down, along)

    @property
    def rows(self) -> int:
        """Of a block."""
        return self.groups * 64

    @property
    def cluster(self) -> int:
        """Blocks."""
        return self.down * self.along

    @property
    def rounds(self) -> int:
        """Tiles of a block."""
        return -(-self.outputs // self.width // self.along // CLUSTERS[self.cluster])

    @property
    def blocks(self) -> int:
        """Of a launch, each with as many tiles as all others, if that goes."""
        return -(-self.outputs // self.width // self.along // self.rounds) * self.cluster

    @property
    def cycles(self) -> float:
        """What a multiprocessor takes for the steps of its tiles: multiplying, or being told what."""
        multiply, weights = self.rows * self.width / 32, self.width / self.down * BAND * 2 * self.blocks
        told = weights + self.rows / self.along * BAND * 2 * self.blocks
        return self.rounds * self.columns / BAND * max(multiply, told / TO_BLOCKS, weights / FROM_MEMORY)

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
    if 128 < target.rows <= 224:  # 192 rows lose, 224 were not timed
        return "is not known to be the faster one for 129 to 224 rows"
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
