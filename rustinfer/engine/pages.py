"""The pages of the key-value cache that nobody holds."""

from __future__ import annotations

from collections.abc import Sequence


class PagePool:
    """A stack of free page numbers. Whoever takes a page owns it alone until giving it back.

    It does not know what is in a page: sharing belongs to the prefix tree, which owns the pages it shares. Who runs
    together mixes the pages, and those of a prompt are read faster where they lie together: see `tidy`.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = list(range(total - 1, -1, -1))
        self._tidied = total  # from the bottom, of those that nobody has taken since

    def __len__(self) -> int:
        """How many pages are free."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` pages; the caller has checked that there are so many."""
        if count > len(self._free):
            raise ValueError(f"{count} pages wanted, {len(self._free)} free")
        if not count:
            return []
        taken = self._free[-count:]
        del self._free[-count:]
        self._tidied = min(self._tidied, len(self._free))
        taken.reverse()
        return taken

    def give(self, pages: Sequence[int]) -> None:
        """Back to the free pages; the most recently used are taken first."""
        self._free.extend(reversed(pages))

    def tidy(self) -> None:
        """Put in order what was taken since the last time and is back; costs what that is, and nothing for the rest."""
        self._free[self._tidied :] = sorted(self._free[self._tidied :], reverse=True)
        self._tidied = len(self._free)

    def free(self) -> frozenset[int]:
        """The free pages' numbers, for checks. Raises ValueError where one was given back twice."""
        unique = frozenset(self._free)
        if len(unique) != len(self._free):
            raise ValueError("a page is free twice")
        return unique
