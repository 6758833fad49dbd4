"""Who holds which page: the pool, the prefix tree, and the sequences."""

from __future__ import annotations

from collections.abc import Iterable

from .pages import PagePool
from .radix import RadixTree
from .sequence import TOKEN, Sequence

AHEAD, SHARE = 16, 32
"""Pages that a sequence is given ahead, at most, and of how many free ones it may be one."""


class KVCache:
    """Hands pages to sequences and takes them back. Every page has one owner: the pool, the tree or one sequence.

    Without `sharing`, requests never share: only the sequences of one request do, and nothing outlives them.
    Pure bookkeeping: the numbers in the pages are the runner's. `touched` lists whose pages have changed, for whoever
    keeps a table of them.
    """

    def __init__(self, pages: int, page_size: int, sharing: bool = True) -> None:
        self.page_size, self.sharing = page_size, sharing
        self.pool = PagePool(pages)
        self.tree = RadixTree(page_size * TOKEN)
        self.touched: list[Sequence] = []

    @property
    def available(self) -> int:
        """Pages that can be had: free ones and those of prefixes in nobody's use."""
        return len(self.pool) + self.tree.evictable

    def pages_for(self, tokens: int) -> int:
        """How many pages hold so many tokens."""
        return -(-tokens // self.page_size)

    def attach(self, sequence: Sequence) -> None:
        """Start a sequence that holds nothing with the longest prefix the tree knows, its last token never included.

        Where more than the next token is wanted of a prompt it is computed from its beginning.
        """
        scans = (sequence.scanned is not None or sequence.pooled is not None) and not sequence.published
        blocks = 0 if scans else (len(sequence.tokens) - 1) // self.page_size
        node, pages = self.tree.match(self._salt(sequence), sequence.key(0, blocks * self.page_size))
        self.tree.lock(node)
        sequence.node, sequence.pages, sequence.shared = node, pages, len(pages)
        sequence.computed = sequence.settled = len(pages) * self.page_size
        sequence.tabled = 0
        self.touched.append(sequence)
        if not sequence.published:
            sequence.cached = sequence.computed

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Give the sequence pages enough for `tokens`, evicting where needed; False, and nothing done, if too few."""
        missing = self.pages_for(tokens) - len(sequence.pages)
        if missing <= 0:
            return True
        if missing > self.available:
            return False
        if missing > len(self.pool):
            self.pool.give(self.tree.evict(missing - len(self.pool)))
        sequence.pages += self.pool.take(missing)
        self.touched.append(sequence)
        return True

    def grow_ahead(self, sequence: Sequence, tokens: int) -> None:
        """Give the sequence some of the pages that `tokens` will need, where plenty are free: nothing is evicted.

        A device that decodes without a pause stands still while it is told of a page: so it is told of some at once.
        """
        wanted = min(self.pages_for(tokens) - len(sequence.pages), AHEAD, len(self.pool) // SHARE)
        if wanted > 0:
            sequence.pages += self.pool.take(wanted)
            self.touched.append(sequence)

    def publish(self, sequence: Sequence) -> None:
        """Move the sequence's full and settled pages into the tree, to be shared; it goes on using the tree's."""
        full = min(sequence.settled, len(sequence.tokens)) // self.page_size
        if full <= sequence.shared:
            return
        own = sequence.pages[sequence.shared : full]
        key = sequence.key(sequence.shared * self.page_size, full * self.page_size)
        node, kept = self.tree.insert(self._salt(sequence), key, own, after=sequence.node)
        self.tree.lock(node)
        self.tree.unlock(sequence.node)
        self.pool.give([mine for mine, theirs in zip(own, kept, strict=True) if mine != theirs])
        if kept != own:
            sequence.pages[sequence.shared : full] = kept
            sequence.tabled = min(sequence.tabled, sequence.shared)
            self.touched.append(sequence)
        sequence.node, sequence.shared = node, full

    def release(self, sequence: Sequence, keep: bool = True) -> list[int]:
        """Take everything back from a sequence that does not fly; `keep` leaves what settled in the tree.

        Returns the pages it owned.
        """
        if keep and self.sharing:
            self.publish(sequence)
        own = sequence.pages[sequence.shared :]
        self.pool.give(own)
        self.tree.unlock(sequence.node)
        if not self.sharing:
            self.pool.give(self.tree.prune(sequence.node))
        sequence.node, sequence.pages, sequence.shared = None, [], 0
        sequence.computed = sequence.settled = sequence.tabled = 0
        return own

    def check(self, sequences: Iterable[Sequence]) -> None:
        """Raise AssertionError unless every page has one owner and the counts agree. For tests: it reads everything."""
        own = [page for s in sequences for page in s.pages[s.shared :]]
        owned = [*self.pool.free(), *self.tree.pages(), *own]
        assert sorted(owned) == list(range(self.pool.total)), "pages lost or owned twice"
        assert self.tree.evictable == sum(len(n.pages) for n in self.tree.nodes() if n.locks == 0)
        for s in sequences:
            assert s.pages[: s.shared] == (s.node.path() if s.node else []), "a shared prefix is not the tree's"

    def _salt(self, sequence: Sequence) -> str:
        request = sequence.request
        return f"s{request.salt}" if self.sharing else f"r{request.owner.hex()}/{request.id}"
