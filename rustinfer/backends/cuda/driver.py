"""Load machine code and launch it, by the CUDA driver, on torch's stream of the moment."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

ATTRIBUTES = {
    "cooperative": "COOPERATIVE",  # all blocks run at once, or the driver refuses
    "cluster": "CLUSTER_DIMENSION",  # blocks that can read each other's shared memory
    "programmatic": "PROGRAMMATIC_STREAM_SERIALIZATION",  # it may be placed before the kernel in front has ended
}


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

    def launch(self, blocks: int, argument: ctypes.Structure, **how: int) -> None:
        """Start it; `how` are names of ATTRIBUTES with their values. Raises LaunchError."""
        driver = self.driver
        config = driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = self.threads, 1, 1
        config.sharedMemBytes = self.shared
        # Read at every launch: during capture it is another one.
        config.hStream = torch.cuda.current_stream().cuda_stream
        config.attrs = [self._attribute(name, value) for name, value in how.items()]
        config.numAttrs = len(how)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(argument))
        checked(driver.cuLaunchKernelEx(config, self._function, ctypes.addressof(pointers), 0))

    def _attribute(self, name: str, value: int) -> Any:
        """One of a launch's attributes."""
        attribute = self.driver.CUlaunchAttribute()
        attribute.id = getattr(self.driver.CUlaunchAttributeID, f"CU_LAUNCH_ATTRIBUTE_{ATTRIBUTES[name]}")
        if name == "cluster":
            attribute.value.clusterDim.x, attribute.value.clusterDim.y, attribute.value.clusterDim.z = value, 1, 1
        elif name == "programmatic":
            attribute.value.programmaticStreamSerializationAllowed = value
        else:
            attribute.value.cooperative = value
        return attribute


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a call into the driver, if it has one. Raises LaunchError unless it succeeded."""
    if int(result[0]):
        raise LaunchError(f"the CUDA driver says {result[0].name}")
    return result[1] if len(result) == 2 else result[1:]
