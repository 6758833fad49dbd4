"""How TMA reads a matrix in bfloat16: boxes of rows, 64 columns wide, which lie swizzled in shared memory."""

from __future__ import annotations

import ctypes

from torch import Tensor

from .driver import checked

BAND = 64  # columns of a box: 128 bytes, the widest swizzle
Words = ctypes.c_uint64 * 16


def tensor_map(matrix: Tensor, box: int) -> ctypes.Array[ctypes.c_uint64]:
    """The description of `matrix` [rows, columns] for boxes of `box` rows; rows beyond its end are zeros."""
    from cuda.bindings import driver as d

    sizes = [d.cuuint64_t(matrix.shape[1]), d.cuuint64_t(matrix.shape[0])]
    strides = [d.cuuint64_t(matrix.stride(0) * matrix.itemsize)]
    boxes, ones = [d.cuuint32_t(BAND), d.cuuint32_t(box)], [d.cuuint32_t(1), d.cuuint32_t(1)]
    made = checked(
        d.cuTensorMapEncodeTiled(
            d.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, matrix.data_ptr(), sizes, strides, boxes, ones,
            d.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE, d.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
            d.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            d.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    )  # fmt: skip
    return Words.from_buffer_copy(ctypes.string_at(made.getPtr(), 128))
