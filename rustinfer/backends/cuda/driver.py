"""Load machine code and launch it, by the CUDA driver, on torch's stream of the moment."""

from __future__ import annotations

import ctypes
from typing import Any

import torch


class LaunchError(Exception):
    """The driver refused; the message is its name for the reason."""


class Function:
    """A kernel that takes one structure by value, in blocks of `threads` with `shared` bytes of shared memory."""

    def __init__(self, code: bytes, name: str, threads: int, shared: int) -> None:
        from cuda.bindings import driver

        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.current_stream().synchronize()  # the primary context must be current before a module is loaded
        self.driver, self.threads, self.shared = driver, threads, shared
        self._module = checked(driver.cuModuleLoadData(code))
        self._function = checked(driver.cuModuleGetFunction(self._module, name.encode()))
        most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        checked(driver.cuFuncSetAttribute(self._function, most, shared))

    def launch(self, blocks: int, argument: ctypes.Structure, *, cooperative: bool) -> None:
        """Start it. `cooperative`: all blocks run at once, or the driver refuses. Raises LaunchError."""
        driver = self.driver
        config = driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = self.threads, 1, 1
        config.sharedMemBytes = self.shared
        # Read at every launch: during capture it is another one.
        config.hStream = torch.cuda.current_stream().cuda_stream
        if cooperative:
            attribute = driver.CUlaunchAttribute()
            attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_COOPERATIVE
            attribute.value.cooperative = 1
            config.attrs, config.numAttrs = [attribute], 1
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        checked(driver.cuLaunchKernelEx(config, self._function, ctypes.addressof(pointers), 0))


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a call into the driver, if it has one. Raises LaunchError unless it succeeded."""
    if int(result[0]):
        raise LaunchError(f"the CUDA driver says {result[0].name}")
    return result[1] if len(result) == 2 else result[1:]
