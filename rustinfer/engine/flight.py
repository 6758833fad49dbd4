"""Steps on their way: the host goes on while the device computes."""

from __future__ import annotations

import torch

from .sampled import Sampled
from .sampler import Drawn


class Done:
    """A step whose results are known."""

    def __init__(self, sampled: Sampled) -> None:
        self._sampled = sampled

    def result(self) -> Sampled:
        """What it brought."""
        return self._sampled


class Drawing:
    """A step whose results are copied to pinned memory behind it. On the CPU there is nothing to wait for."""

    def __init__(self, drawn: Drawn) -> None:
        self._read, self._tensors = drawn.read, drawn.tensors
        self._event = None
        if drawn.tokens.is_cuda:
            pinned = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in drawn.tensors]
            self._tensors = [to.copy_(t, non_blocking=True) for to, t in zip(pinned, drawn.tensors, strict=True)]
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def result(self) -> Sampled:
        """Wait for the copy, and read it. Raises what the device raises."""
        if self._event is not None:
            self._event.synchronize()
        return self._read(self._tensors)
