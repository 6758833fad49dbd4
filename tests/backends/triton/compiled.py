"""Compile, for a GPU that need not be here, the kernels that a piece of code launches.

`compiled(call, sm)` runs the call with launches replaced by compilations: nothing runs, outputs are uninitialised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

TYPES = {
    torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float8_e4m3fn: "fp8e4nv",
    torch.int8: "i8", torch.uint8: "u8", torch.int32: "i32", torch.int64: "i64",
}  # fmt: skip
OPTIONS = ("num_warps", "num_stages", "launch_pdl", "maxnreg")


def compiled(call: Callable[[], object], sm: int = 90) -> list[Any]:
    """What triton made of each launch, in order: `.asm` (ptx, cubin) and `.metadata` (shared, num_warps)."""
    made: list[Any] = []

    def run(self: Any, *args: Any, grid: object, warmup: bool, **kwargs: Any) -> None:
        made.append(compile_one(self, args, kwargs, sm))

    with mock.patch.object(JITFunction, "run", run):
        call()
    return made


def compile_one(kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sm: int) -> Any:
    """One launch's kernel, specialised as a launch would: aligned pointers, integers by their divisibility."""
    options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
    values = kernel.signature.bind(*args, **kwargs)
    values.apply_defaults()
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[object]]] = {}
    for index, (name, value) in enumerate(values.arguments.items()):
        if kernel.params[index].is_constexpr or (isinstance(value, int) and value == 1):
            signature[name], constants[(index,)] = "constexpr", value
            continue
        signature[name] = kind(value)
        if isinstance(value, TensorDescriptor):
            continue
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options)


def kind(value: object) -> str:
    """Triton's name for an argument's type."""
    if isinstance(value, torch.Tensor):
        return "*" + TYPES[value.dtype]
    if isinstance(value, TensorDescriptor):
        return f"tensordesc<{TYPES[value.base.dtype]}{list(value.block_shape)}>"
    if isinstance(value, float):
        return "fp32"
    assert isinstance(value, int), value
    return "i32" if -(2**31) <= value < 2**31 else "i64"
