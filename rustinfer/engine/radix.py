"""A tree of computed prefixes: which tokens lie in which pages, shared by reference, evicted from the leaves."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence


class Node:
    """A run of whole blocks after its parent's. `locks` counts the users of this node or of any node below it.

    A node keeps its identity, and its end, for life: when a shorter prefix is needed, a new parent takes the front.
    """

    __slots__ = ("children", "key", "locks", "pages", "parent", "used")

    def __init__(self, parent: Node | None, key: bytes, pages: list[int], used: int = 0) -> None:
        self.parent, self.key, self.pages, self.used = parent, key, pages, used
        self.children: dict[bytes, Node] = {}
        self.locks = 0

    def path(self) -> list[int]:
        """The pages from the root to this node's end."""
        nodes, node = [], self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return [page for node in reversed(nodes) for page in node.pages]


class RadixTree:
    """Owns every page in it. Keys are bytes: `block` bytes stand for one page of tokens.

    A `salt` separates trees that must not share. Locked nodes stay; the others go least recently used first, page by
    page from a leaf's end. Knows neither tokens nor the pool.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self.evictable = 0
        self._roots: dict[str, Node] = {}
        self._leaves: list[tuple[int, int, Node]] = []
        self._clock = 0

    def match(self, salt: str, key: bytes) -> tuple[Node | None, list[int]]:
        """The node that ends the longest known prefix of whole blocks of `key`, and its pages from the start."""
        node, done, pages = self._roots.get(salt), 0, []
        if node is None:
            return None, []
        self._clock += 1
        while child := node.children.get(key[done : done + self.block]):
            child, length = self._meet(child, key, done)
            child.used = self._clock
            pages += child.pages
            done += length
            node = child
        self._remember(node)
        return (node, pages) if pages else (None, [])

    def insert(self, salt: str, key: bytes, pages: Sequence[int], after: Node | None = None) -> tuple[Node, list[int]]:
        """Add `pages` (one per block of `key`) after the node `after`; return the end node and the tree's own pages.

        Where the tree knew a block already it keeps its page, and the caller still owns the one offered in its place.
        """
        node = after or self._roots.setdefault(salt, Node(None, b"", []))
        self._clock += 1
        done, kept = 0, []
        while done < len(key):
            child = node.children.get(key[done : done + self.block])
            if child is None:
                child = Node(node, key[done:], list(pages[done // self.block :]))
                node.children[child.key[: self.block]] = child
                self.evictable += len(child.pages)
            child, length = self._meet(child, key, done)
            child.used = self._clock
            kept += child.pages
            done += length
            node = child
        self._remember(node)
        return node, kept

    def lock(self, node: Node | None) -> None:
        """Keep this prefix until `unlock`."""
        while node is not None:
            if node.locks == 0:
                self.evictable -= len(node.pages)
            node.locks += 1
            node = node.parent

    def unlock(self, node: Node | None) -> None:
        """Undo one `lock`."""
        end = node
        while node is not None:
            node.locks -= 1
            if node.locks == 0:
                self.evictable += len(node.pages)
            node = node.parent
        if end is not None:
            self._remember(end)

    def evict(self, count: int) -> list[int]:
        """Forget at least-recently-used ends until `count` pages came free (or no more can); the caller owns them."""
        freed: list[int] = []
        while len(freed) < count and self._leaves:
            used, _, node = heapq.heappop(self._leaves)
            if used == node.used and self._is_loose(node):
                freed += self._trim(node, count - len(freed))
        return freed

    def prune(self, node: Node | None) -> list[int]:
        """Forget this prefix as far back as nobody else uses it; the caller owns the pages."""
        freed: list[int] = []
        while node is not None and self._is_loose(node):
            parent = node.parent
            freed += self._trim(node, len(node.pages))
            node = parent
        return freed

    def pages(self) -> list[int]:
        """Every page in the tree."""
        return [page for node in self.nodes() for page in node.pages]

    def nodes(self) -> Iterator[Node]:
        """Every node but the roots."""
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            stack += node.children.values()
            if node.parent is not None:
                yield node

    def _meet(self, child: Node, key: bytes, done: int) -> tuple[Node, int]:
        """The part of `child` that agrees with `key` from `done` on (its front, split off where needed), in bytes."""
        if key.startswith(child.key, done):
            return child, len(child.key)
        length = self.block
        while child.key[length : length + self.block] == key[done + length : done + length + self.block]:
            length += self.block
        return self._split(child, length), length

    def _split(self, node: Node, length: int) -> Node:
        assert node.parent is not None
        count = length // self.block
        front = Node(node.parent, node.key[:length], node.pages[:count], node.used)
        front.locks = node.locks
        node.parent.children[front.key[: self.block]] = front
        node.key, node.pages, node.parent = node.key[length:], node.pages[count:], front
        front.children[node.key[: self.block]] = node
        return front

    def _is_loose(self, node: Node) -> bool:
        return node.locks == 0 and not node.children and node.parent is not None and bool(node.pages)

    def _remember(self, node: Node) -> None:
        # An entry is a guess, checked when it is popped: nodes change far more often than pages are short.
        if self._is_loose(node):
            heapq.heappush(self._leaves, (node.used, id(node), node))
            if len(self._leaves) > 64 + 4 * self.evictable:
                self._leaves = [e for e in self._leaves if e[0] == e[2].used and self._is_loose(e[2])]
                heapq.heapify(self._leaves)

    def _trim(self, node: Node, count: int) -> list[int]:
        """Cut up to `count` pages off a loose node's end, and the node itself when none is left."""
        assert node.parent is not None
        keep = max(len(node.pages) - count, 0)
        cut = node.pages[keep:]
        node.pages = node.pages[:keep]
        self.evictable -= len(cut)
        parent = node.parent
        if keep:
            node.key = node.key[: keep * self.block]
            self._remember(node)
        else:
            del parent.children[node.key[: self.block]]
            self._remember(parent)
            self._forget_root(parent)
        return cut

    def _forget_root(self, node: Node) -> None:
        if node.parent is None and not node.children:
            self._roots = {salt: root for salt, root in self._roots.items() if root is not node}
