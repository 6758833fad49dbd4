"""Small arrays of numbers between host and device, without waiting for either."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import c_int, c_size_t, c_void_p
from functools import cache

import numpy as np
import torch
from torch import Tensor

HOST_TO_DEVICE = 1
PENDING = -3
"""What no vector holds that is fetched."""
LOOKS = 200
"""How often memory is looked at before the driver is asked, who knows of errors."""
SLOTS = 3
"""Copies that may be on their way at once: one more than a runner ever has in flight."""


class Staging:
    """A device buffer of int64, filled from a ring of pinned arrays: write to `next()`, then `send` its beginning.

    What was sent last is in `buffer` for every kernel that is launched from then on, until the next `send`. What is
    written to `next(inside=True)` is copied by a graph itself, which holds `take`: a launch less, for which an idle
    device would wait.
    """

    def __init__(self, items: int, device: torch.device) -> None:
        self.buffer = torch.zeros(items, dtype=torch.int64, device=device)
        self._ring = [Pinned(items, device) for _ in range(SLOTS)]
        self._inside = Pinned(items, device, inside=True)
        self._now, self._at, self._sent, self._left = self._ring[0], 0, False, False

    def next(self, inside: bool = False) -> np.ndarray:
        """An array to write to. Waits for the copy that was made from it last, which is long past.

        A graph copies as it begins, which it has once the one before it has been read.
        """
        self.mark()
        if inside:
            self.taken()
            self._now, self._left = self._inside, True
            return self._now.array
        self._at = (self._at + 1) % SLOTS
        self._now = self._ring[self._at]
        return self._now.wait()

    def now(self) -> np.ndarray:
        """The same array again."""
        return self._now.array

    def send(self, items: int) -> None:
        """Copy the first `items` of that array to the device."""
        send(self.buffer, self._now.tensor, items)
        self._sent = self._now is not self._inside

    def take(self, items: int) -> None:
        """What a graph holds in place of `send`, of what was written for it."""
        send(self.buffer, self._inside.tensor, items)
        self._inside.mark()

    def taken(self) -> None:
        """Wait until a graph has taken what was left for it: its next prompt then need not, before the device works."""
        if self._left:
            self._inside.wait()
        self._left = False

    def mark(self) -> None:
        """Note when the copy will be over, if one was made: no sooner than needed, for the device may be idle."""
        if self._sent:
            self._now.mark()
        self._sent = False


def send(to: Tensor, pinned: Tensor, items: int) -> None:
    """Copy the first `items` of a pinned vector, by the CUDA runtime itself; where that fails torch says why."""
    if to.is_cuda and (copy := runtime()):
        stream = torch.cuda.current_stream().cuda_stream
        if not copy(to.data_ptr(), pinned.data_ptr(), items * to.itemsize, HOST_TO_DEVICE, stream):
            return
    to[:items].copy_(pinned[:items], non_blocking=True)


@cache
def runtime() -> Callable[..., int] | None:
    """cudaMemcpyAsync of the library that torch uses; None where that is not to be had."""
    try:
        library = ctypes.CDLL(f"libcudart.so.{(torch.version.cuda or '').partition('.')[0]}")
    except OSError:
        return None
    copy: Callable[..., int] = library.cudaMemcpyAsync
    copy.argtypes = [c_void_p, c_void_p, c_size_t, c_int, c_void_p]  # type: ignore[attr-defined]
    return copy


class Pinned:
    """Host memory that a device reads or writes by itself, and the event after which it is done with it.

    `inside`: a graph holds the event, and each replay marks it.
    """

    def __init__(self, items: int, device: torch.device, inside: bool = False) -> None:
        cuda = device.type == "cuda"
        self.tensor = torch.zeros(items, dtype=torch.int64, pin_memory=cuda)
        self.array: np.ndarray = self.tensor.numpy()
        self._event = torch.cuda.Event(external=inside) if cuda else None  # type: ignore[no-untyped-call]

    def fetch(self, source: Tensor) -> None:
        """Start copying a vector of numbers from -1 on from the device."""
        self.array[: len(source)] = PENDING
        self.tensor[: len(source)].copy_(source, non_blocking=True)
        self.mark()

    def fetched(self, count: int) -> np.ndarray:
        """What `fetch` copied, which memory shows sooner than the driver tells. Raises what the device raises."""
        there = self.array[:count]
        while count and np.minimum.reduce(there) == PENDING and not self.over():
            for _ in range(LOOKS):
                if np.minimum.reduce(there) != PENDING:
                    break
                os.sched_yield()  # other threads may run; `time.sleep(0)` sleeps for 60 us, and the core with it
        return there

    def mark(self) -> None:
        """What was asked of the device until now is what `wait` waits for."""
        if self._event is not None:
            self._event.record()

    def over(self) -> bool:
        """Whether `wait` would not wait. Raises what the device raises."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def wait(self) -> np.ndarray:
        """The array, once the device is done with it. Raises what the device raises."""
        if self._event is not None:
            self._event.synchronize()
        return self.array


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, without waiting for what that is doing: pageable memory would."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
