"""Memory for repacked weights: cut from large pieces, since large pages need more room than one matrix has."""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

from .library import library

PIECE = 32 << 20
PAGE = 2 << 20
ALIGN = 64


class Arena:
    """Hands out memory that is never reused; a piece is freed when everything cut from it is gone."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.piece = torch.empty(0, dtype=torch.uint8)
        self.used = 0

    def take(self, size: int) -> Tensor:
        """`size` bytes, uint8, aligned to a cache line."""
        with self.lock:
            if self.used + size > self.piece.numel():
                self.piece, self.used = self._new(max(PIECE, size)), 0
            start = self.used
            self.used += -(-size // ALIGN) * ALIGN
            return self.piece[start : start + size]

    def _new(self, size: int) -> Tensor:
        room = -(-size // PAGE) * PAGE
        raw = torch.empty(room + PAGE, dtype=torch.uint8)
        library().ri_large_pages(raw.data_ptr(), raw.numel())
        return raw[-raw.data_ptr() % PAGE :][:room]


arena = Arena()
