"""How TMA reads a matrix in bfloat16: boxes of rows, 64 columns wide, which lie swizzled in shared memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from torch import Tensor

from .driver import checked

BAND = 64  # columns of a box: 128 bytes, the widest swizzle
EIGHT = 8  # rows of a repeat of the swizzle
Words = ctypes.c_uint64 * 16


def tensor_map(matrix: Tensor, box: int, at_once: int = 256) -> ctypes.Array[ctypes.c_uint64]:
    """The description of `matrix` [rows, columns] for boxes of `box` rows; rows beyond its end are zeros.

    at_once: bytes that the L2 cache asks memory for, 128 or 256.
    """
    return _map(matrix, (matrix.shape[1], matrix.shape[0]), (matrix.stride(0),), (BAND, box), at_once)


def halves_map(matrix: Tensor, box: int) -> ctypes.Array[ctypes.c_uint64]:
    """The same of `matrix` whose halves take turns in a box: eight rows of the first, eight of the second."""
    rows, columns = matrix.shape
    sizes = (columns, EIGHT, 2, rows // 2 // EIGHT)
    strides = (columns, rows // 2 * columns, EIGHT * columns)
    return _map(matrix, sizes, strides, (BAND, EIGHT, 2, box // 2 // EIGHT))


def _map(
    matrix: Tensor, sizes: Sequence[int], strides: Sequence[int], box: Sequence[int], at_once: int = 256
) -> ctypes.Array[ctypes.c_uint64]:
    """Sizes, strides from the second on, and the box are in numbers, innermost first."""
    from cuda.bindings import driver as d

    made = checked(
        d.cuTensorMapEncodeTiled(
            d.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, len(sizes), matrix.data_ptr(),
            [d.cuuint64_t(size) for size in sizes], [d.cuuint64_t(stride * matrix.itemsize) for stride in strides],
            [d.cuuint32_t(size) for size in box], [d.cuuint32_t(1)] * len(sizes),
            d.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE, d.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
            getattr(d.CUtensorMapL2promotion, f"CU_TENSOR_MAP_L2_PROMOTION_L2_{at_once}B"),
            d.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    )  # fmt: skip
    return Words.from_buffer_copy(ctypes.string_at(made.getPtr(), 128))
