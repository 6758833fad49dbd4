"""Tensors from files to a GPU: many reads at a time into pinned memory, from where the GPU fetches them by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import CheckpointError

THREADS = 8
PIECE = 8 << 20
"""Bytes of one read. Every thread has two buffers of that size: one is read into while the other is fetched."""


class Place(NamedTuple):
    """Where a tensor's bytes lie."""

    path: Path
    start: int
    size: int


class Transfer:
    """Reads all of `places` in their order, from the moment it is made; `take` waits for one tensor and lets go of it.

    What nobody takes is given up by `close`. Raises CheckpointError, from `take`, for a file that cannot be read.
    """

    def __init__(self, places: Mapping[str, Place], device: torch.device, threads: int = THREADS) -> None:
        self._device, self._own = device, local()
        self._files = {path: os.open(path, os.O_RDONLY) for path in {place.path for place in places.values()}}
        self._pool = ThreadPoolExecutor(threads, "weights")
        self._futures: dict[str, Future[tuple[Tensor, torch.cuda.Event | None]]] = {
            name: self._pool.submit(self._read, place) for name, place in places.items()
        }
        self._pool.shutdown(wait=False)

    def take(self, name: str) -> Tensor:
        """The tensor's bytes, uint8 on the device. A second time it is not there any more: KeyError."""
        data, event = self._futures.pop(name).result()
        if event is not None:
            torch.cuda.current_stream(self._device).wait_event(event)
        if not self._futures:
            self.close()
        return data

    def __contains__(self, name: str) -> bool:
        return name in self._futures

    def close(self) -> None:
        """Stop, and close the files."""
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        files, self._files = self._files, {}
        self._pool.shutdown()
        for file in files.values():
            os.close(file)

    def _read(self, place: Place) -> tuple[Tensor, torch.cuda.Event | None]:
        data = torch.empty(place.size, dtype=torch.uint8, device=self._device)
        cuda = data.is_cuda
        buffers, stream = self._buffers()
        file, done, turn = self._files[place.path], 0, 0
        while done < place.size:
            buffer, event = buffers[turn]
            turn = 1 - turn
            if event is not None:
                event.synchronize()
            count = min(PIECE, place.size - done)
            read = os.preadv(file, [buffer.numpy()[:count].data], place.start + done)
            if not read:
                raise CheckpointError(f"{place.path}: the file ends before its last tensor")
            with torch.cuda.stream(stream):
                data[done : done + read].copy_(buffer[:read], non_blocking=cuda)
                if event is not None:
                    event.record(stream)
            done += read
        return data, self._mark(stream)

    def _mark(self, stream: torch.cuda.Stream | None) -> torch.cuda.Event | None:
        if stream is None:
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
        return event

    def _buffers(self) -> tuple[list[tuple[Tensor, torch.cuda.Event | None]], torch.cuda.Stream | None]:
        """This thread's two buffers, each with the event after which it is free, and its stream."""
        if not hasattr(self._own, "made"):
            cuda = self._device.type == "cuda"
            buffers = [torch.empty(PIECE, dtype=torch.uint8, pin_memory=cuda) for _ in range(2)]
            events = [torch.cuda.Event() if cuda else None for _ in buffers]  # type: ignore[no-untyped-call]
            stream = torch.cuda.Stream(self._device) if cuda else None  # type: ignore[no-untyped-call]
            self._own.made = list(zip(buffers, events, strict=True)), stream
        made: tuple[list[tuple[Tensor, torch.cuda.Event | None]], torch.cuda.Stream | None] = self._own.made
        return made
