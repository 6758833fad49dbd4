"""Kernels that are launched as a grid, on a CPU: built by g++ with an emulator in place of the GPU's instructions."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rustinfer.backends.cuda.tensor_map import Words
from rustinfer.registry import Target

from .emulation import built

Late = tuple[Tensor, Tensor] | None


@dataclass
class Emulated:
    """What `loaded` gives, on a CPU; blocks and copies take turns as `seed` says.

    `late` is a tensor that has the other's values as soon as all threads wait for the kernel in front.
    """

    name: str
    target: Target
    threads: int
    shared: int
    constants: dict[str, int]
    seed: int = 0
    late: Late = None

    def launch(self, blocks: int, argument: ctypes.Structure, **how: int) -> None:
        """Run it to its end."""
        run, late = library(self.name, self.constants), self.late
        late = (late[0].data_ptr(), late[1].data_ptr(), late[0].nbytes) if late else (None, None, 0)
        run(ctypes.addressof(argument), blocks, self.threads, self.shared, self.seed, *late)


def loaded(
    name: str, target: Target, threads: int, shared: int, *, seed: int = 0, late: Late = None, **constants: int
) -> Emulated:
    """In place of `rustinfer.backends.cuda.loaded.loaded`."""
    return Emulated(name, target, threads, shared, constants, seed, late)


def tensor_map(matrix: Tensor, box: int, at_once: int = 256) -> ctypes.Array[ctypes.c_uint64]:
    """In place of the driver's: what the emulator takes for one."""
    rows, columns = matrix.shape
    return Words(matrix.data_ptr(), columns, rows, matrix.stride(0), box)


halves_map = tensor_map  # the kernel asks for boxes of the one kind by another function


def library(name: str, constants: dict[str, int]) -> Any:
    """A kernel as a function."""
    function = built("emulated_grid.cpp", {"SOURCE": f'"{name}.cu"', "ENTRY": name} | constants)
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_uint64]
    function.argtypes += [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
    return function
