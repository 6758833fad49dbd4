"""Steps on their way: the host goes on while the device computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..registry import Faults
from .sampled import Flight, Sampled
from .sampler import Drawn
from .staging import Pinned


class Done(Flight):
    """A step whose results are known."""

    def __init__(self, sampled: Sampled) -> None:
        self._sampled = sampled

    def result(self) -> Sampled:
        """What it brought."""
        return self._sampled


class Arrivals:
    """Pinned arrays for results, each in use until its flight has landed."""

    def __init__(self, items: int, device: torch.device) -> None:
        self._items, self._device = items, device
        self._free: list[Pinned] = []

    def fetch(self, told: Tensor, rows: np.ndarray | None = None, first: Callable[[], None] = lambda: None) -> Told:
        """Start copying tokens to the host. `rows` are those that matter, in their order; None: all.

        `first` is called before they are waited for: whatever else has to wait for what comes before them.
        """
        pinned = self._free.pop() if self._free else Pinned(self._items, self._device)
        pinned.fetch(told)
        return Told(self._free, pinned, len(told), rows, first)


class Told(Flight):
    """Plain tokens on their way to the host."""

    def __init__(
        self, free: list[Pinned], pinned: Pinned, count: int, rows: np.ndarray | None, first: Callable[[], None]
    ) -> None:
        self._free, self._pinned, self._count, self._rows, self._first = free, pinned, count, rows, first

    def result(self) -> Sampled:
        """Wait for them. Raises what the device raises."""
        self._first()
        told = self._pinned.fetched(self._count)
        told = told.copy() if self._rows is None else told[self._rows]
        self._free.append(self._pinned)
        unsound = (told < 0).nonzero()[0].tolist() if len(told) and np.minimum.reduce(told) < 0 else ()
        return Sampled(told.tolist(), unsound)


class Checked(Flight):
    """A flight whose results count only if no kernel gave up on the way."""

    def __init__(self, flight: Flight, faults: Faults) -> None:
        self._flight, self._faults = flight, faults

    def result(self) -> Sampled:
        """What it brought. Raises KernelFault, and what the flight raises."""
        try:
            return self._flight.result()
        finally:
            self._faults.check()  # where one gave up, that is why the rest went wrong

    def stop(self) -> None:
        """As the flight's."""
        self._flight.stop()


class Drawing(Flight):
    """What the sampler drew, on its way to the host. On the CPU there is nothing to wait for."""

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
