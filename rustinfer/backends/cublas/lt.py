"""cuBLASLt by ctypes: a matrix product described once, the algorithms that the library offers for it, and running one.

torch chooses among them by the library's guess alone. Nothing here decides which is best: `choice` does, by timing.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from functools import cache
from typing import Any

import torch
from torch import Tensor

WORKSPACE = 32 << 20  # bytes that an algorithm may use
ALIGNED = 16  # bytes that every matrix's address is a multiple of
OFFERED = 12
FLOAT32, COMPUTE_FLOAT32, TRANSPOSED, BIAS_EPILOGUE = 0, 68, 1, 4
TYPES = {torch.float32: FLOAT32, torch.float16: 2, torch.bfloat16: 14}
DESC_TRANSPOSE_A, DESC_EPILOGUE, DESC_BIAS, DESC_BIAS_TYPE = 3, 7, 8, 26
LAYOUT_COUNT, LAYOUT_STRIDE = 5, 6
PREFER_WORKSPACE, PREFER_REDUCTION, PREFER_ALIGNMENT = 1, 3, (5, 6, 7, 8)
PARTIAL_SUMS_IN_FP32 = 2


class Algorithm(ctypes.Structure):
    """One way to compute a product, opaque: valid for this version of the library and this kind of GPU."""

    _fields_ = (("data", c_uint64 * 8),)


class Offer(ctypes.Structure):
    """What the library says of an algorithm."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", c_size_t),
        ("status", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


class LtError(Exception):
    """A call into the library failed."""


@cache
def library() -> Any:
    """The library that torch itself uses. Raises OSError where there is none of that name."""
    loaded = ctypes.CDLL(f"libcublasLt.so.{(torch.version.cuda or '').partition('.')[0]}")
    loaded.cublasLtGetVersion.restype = c_size_t
    loaded.cublasLtMatrixLayoutCreate.argtypes = [c_void_p, c_int, c_uint64, c_uint64, c_int64]
    loaded.cublasLtMatmul.argtypes = [c_void_p] * 14 + [c_size_t, c_void_p]
    for kind in ("MatmulDesc", "MatmulPreference", "MatrixLayout"):
        setter = getattr(loaded, f"cublasLt{kind}SetAttribute")
        setter.argtypes = [c_void_p, c_int, c_void_p, c_size_t]
    return loaded


@cache
def handle(device: int) -> c_void_p:
    """The library's context of a device, which is torch's current one."""
    made = c_void_p()
    checked(library().cublasLtCreate(byref(made)))
    return made


def checked(status: int) -> None:
    """Raise LtError unless a call succeeded."""
    if status:
        raise LtError(f"cuBLASLt status {status}")


class Product:
    """y [M, N] = x [M, K] @ weight [N, K]^T (+ bias [N]) of contiguous matrices, summed in fp32.

    `M` rows of one dtype; y has `out_dtype`. In `shares` of the columns, whose products y [shares, M, N] are not added
    up. Raises LtError.
    """

    def __init__(
        self, rows: int, weight: Tensor, out_dtype: torch.dtype, bias: Tensor | None = None, shares: int = 1
    ) -> None:
        outputs, columns = weight.shape
        self.rows, self.weight, self.out_dtype, self.bias, self.shares = rows, weight, out_dtype, bias, shares
        self._handle = handle(weight.device.index or 0)
        self._one, self._zero = c_float(1), c_float(0)
        self._description = c_void_p()
        checked(library().cublasLtMatmulDescCreate(byref(self._description), COMPUTE_FLOAT32, FLOAT32))
        self._describe(DESC_TRANSPOSE_A, c_int32(TRANSPOSED))
        if bias is not None:
            self._describe(DESC_EPILOGUE, c_uint32(BIAS_EPILOGUE))
            self._describe(DESC_BIAS, c_void_p(bias.data_ptr()))
            self._describe(DESC_BIAS_TYPE, c_int32(TYPES[bias.dtype]))
        # The library counts columns first: to it, each row-major matrix is its own transpose.
        each = columns // shares
        self._a = layout(weight.dtype, each, outputs, columns, (shares, each))
        self._b = layout(weight.dtype, each, rows, columns, (shares, each))
        self._d = layout(out_dtype, outputs, rows, outputs, (shares, rows * outputs))

    def offers(self) -> list[Algorithm]:
        """Algorithms that give the same bits each time, the library's favourite first."""
        preference, found, count = c_void_p(), (Offer * OFFERED)(), c_int()
        checked(library().cublasLtMatmulPreferenceCreate(byref(preference)))
        wishes = {PREFER_WORKSPACE: c_uint64(WORKSPACE), PREFER_REDUCTION: c_uint32(PARTIAL_SUMS_IN_FP32)}
        wishes |= {name: c_uint32(ALIGNED) for name in PREFER_ALIGNMENT}
        for name, value in wishes.items():
            checked(library().cublasLtMatmulPreferenceSetAttribute(preference, name, byref(value), sizeof(value)))
        shapes = self._a, self._b, self._d, self._d
        status = library().cublasLtMatmulAlgoGetHeuristic(
            self._handle, self._description, *shapes, preference, OFFERED, found, byref(count)
        )
        library().cublasLtMatmulPreferenceDestroy(preference)
        checked(status)
        return [offer.algorithm for offer in found[: count.value] if not offer.status]

    def suits(self, algorithm: Algorithm) -> bool:
        """Whether an algorithm that was kept on disk computes this product here."""
        shapes, told = (self._a, self._b, self._d, self._d), Offer()
        status = library().cublasLtMatmulAlgoCheck(
            self._handle, self._description, *shapes, byref(algorithm), byref(told)
        )
        return not status and told.workspace <= WORKSPACE

    def run(self, algorithm: Algorithm, x: Tensor, out: Tensor, space: Tensor, weight: Tensor | None = None) -> None:
        """Write the product to `out` on the current stream. `space` are WORKSPACE bytes. Raises LtError.

        `weight`: another one of the same kind.
        """
        a, d = (self.weight if weight is None else weight).data_ptr(), out.data_ptr()
        checked(
            library().cublasLtMatmul(
                self._handle, self._description, byref(self._one), a, self._a, x.data_ptr(), self._b,
                byref(self._zero), d, self._d, d, self._d, byref(algorithm), space.data_ptr(), WORKSPACE,
                torch.cuda.current_stream().cuda_stream,
            )
        )  # fmt: skip

    def _describe(self, name: int, value: Any) -> None:
        checked(library().cublasLtMatmulDescSetAttribute(self._description, name, byref(value), sizeof(value)))


def layout(dtype: torch.dtype, rows: int, columns: int, apart: int, several: tuple[int, int]) -> c_void_p:
    """The library's word for matrices whose columns are `apart`: so many, the next so many numbers behind the last."""
    made, (count, stride) = c_void_p(), several
    checked(library().cublasLtMatrixLayoutCreate(byref(made), TYPES[dtype], rows, columns, apart))
    for name, value in ((LAYOUT_COUNT, c_int32(count)), (LAYOUT_STRIDE, c_int64(stride))) if count > 1 else ():
        checked(library().cublasLtMatrixLayoutSetAttribute(made, name, byref(value), sizeof(value)))
    return made
