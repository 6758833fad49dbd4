"""Rows as the kernels take them: a pointer and a stride."""

from __future__ import annotations

from torch import Tensor


def rows(x: Tensor) -> Tensor:
    """The tensor itself if its last axis is dense, else a dense copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()


def flat(x: Tensor) -> Tensor:
    """A tensor of any rank as a matrix [rows, width] with a dense last axis; a view wherever there is one."""
    return rows(x) if x.dim() == 2 else rows(x.reshape(-1, x.shape[-1]))
