"""Make Triton's CPU interpreter compute as a GPU does.

Triton 3.6 rounds float32 to bfloat16 by cutting off bits, multiplies the bit patterns of bfloat16 matrices, lets the
sums of a matrix's row depend on its place among the others, and cannot loop to a computed bound under numpy 2.4. All of
that is mended here, so that the conformance suite judges our kernels, not the interpreter.
"""

# mypy: ignore-errors
# Triton's internals are not typed.
from __future__ import annotations

from functools import cache

import numpy as np


def narrowed(value: np.ndarray) -> np.ndarray:
    """float32 to the bits of bfloat16, to the nearest, ties to even."""
    bits = np.ascontiguousarray(value, dtype=np.float32).view(np.uint32).reshape(value.shape)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(value), 0x7FC0, rounded).astype(np.uint16)


def widened(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 to float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(bits.shape)


@cache
def repair() -> None:
    """Replace the three functions, once."""
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    cast, dot, patch = builder.cast_impl, builder.create_dot, interpreter._patch_lang_tensor

    def cast_impl(self, src, dst_type):
        pair = (src.dtype.scalar, dst_type.scalar)
        if pair == (tl.float32, tl.bfloat16):
            return handle(narrowed(src.data), tl.bfloat16)
        if pair == (tl.bfloat16, tl.float32):
            return handle(widened(src.data), tl.float32)
        return cast(self, src, dst_type)

    def create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
        a, b = (handle(widened(x.data), tl.float32) if x.dtype == tl.bfloat16 else x for x in (a, b))
        # One product a row: of a matrix, numpy's library adds the last few rows up in another order than the others.
        a, d = (handle(x.data[..., None, :], x.dtype) for x in (a, d))
        b = handle(b.data[..., None, :, :], b.dtype)
        made = dot(self, a, b, d, input_precision, max_num_imprecise_acc)
        return handle(made.data[..., 0, :], made.dtype)

    def patch_tensor(tensor, scope):
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    builder.cast_impl, builder.create_dot = cast_impl, create_dot
    interpreter._patch_lang_tensor = patch_tensor
