"""Memory that an engine's kernels share: scratch, such as partial sums and arrival counters, and what graphs return."""

from __future__ import annotations

import torch
from torch import Tensor

Key = tuple[torch.device, str, torch.dtype]


class Workspace:
    """Named regions that grow until every kernel has run once, and stay where they are from then on.

    Kernels of a stream run one after the other, so all sites that use a name share its region: what one kernel leaves
    there is lost to the next, save that regions of `counters` are zero between kernels. A region that turns out too
    small is replaced, and the old one kept, for a captured graph may know its address. What kernels return while a
    graph is recorded comes from the `pool`, which the largest graph, recorded first, gives its size.
    """

    def __init__(self) -> None:
        self._regions: dict[Key, Tensor] = {}
        self._views: dict[Key, dict[int, Tensor]] = {}  # a launch without a graph asks several times, in each layer
        self._outgrown: list[Tensor] = []
        self._pool: tuple[int, int] | None = None

    def scratch(self, device: torch.device, name: str, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """The first `count` numbers of a region; what they are is not said."""
        return self._region((device, name, dtype), count, zero=False)

    def counters(self, device: torch.device, count: int) -> Tensor:
        """`count` int32 counters that are 0; whoever counts with them leaves them so."""
        return self._region((device, "counters", torch.int32), count, zero=True)

    @property
    def nbytes(self) -> int:
        """Bytes of all regions, outgrown ones included."""
        return sum(tensor.nbytes for tensor in (*self._regions.values(), *self._outgrown))

    @property
    def pool(self) -> tuple[int, int]:
        """The memory of all graphs' outputs, as `torch.cuda.graph_pool_handle` names it: the same at every call."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        return self._pool

    @property
    def pool_nbytes(self) -> int:
        """Bytes that the pool holds of the device."""
        if self._pool is None:
            return 0
        parts = torch.cuda.memory_snapshot(self._pool)  # type: ignore[no-untyped-call]
        return sum(part["total_size"] for part in parts)

    def _region(self, key: Key, count: int, *, zero: bool) -> Tensor:
        views = self._views.setdefault(key, {})
        if count not in views:
            views[count] = self._grown(key, count, zero=zero)[:count]
        return views[count]

    def _grown(self, key: Key, count: int, *, zero: bool) -> Tensor:
        """The region, which has room for so many from now on."""
        region = self._regions.get(key)
        if region is not None and len(region) >= count:
            return region
        if region is not None:
            self._outgrown.append(region)
            self._views[key].clear()
        device, _, dtype = key
        made = torch.empty(count, dtype=dtype, device=device)
        self._regions[key] = made.zero_() if zero else made
        return made
