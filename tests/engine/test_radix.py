"""The prefix tree against a plain dictionary of blocks."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from types import FrameType

from hypothesis import given, settings
from hypothesis import strategies as st

from rustinfer.engine.radix import RadixTree

BLOCK = 2
words = st.lists(st.sampled_from([b"aa", b"bb", b"cc"]), min_size=1, max_size=6).map(b"".join)


def tree_with(*keys: bytes) -> RadixTree:
    tree, page = RadixTree(BLOCK), 0
    for key in keys:
        count = len(key) // BLOCK
        tree.insert("", key, range(page, page + count))
        page += count
    return tree


@given(st.lists(words, max_size=8), words)
def test_a_match_is_the_longest_inserted_prefix_and_its_first_pages(keys: list[bytes], query: bytes) -> None:
    tree, oracle, page = RadixTree(BLOCK), {}, 0
    for key in keys:
        count = len(key) // BLOCK
        node, kept = tree.insert("", key, list(range(page, page + count)))
        for i in range(count):
            oracle.setdefault(key[: (i + 1) * BLOCK], page + i)
        page += count
        assert kept == [oracle[key[: (i + 1) * BLOCK]] for i in range(count)] == node.path()
    expected = []
    while query[: (len(expected) + 1) * BLOCK] in oracle and len(expected) < len(query) // BLOCK:
        expected.append(oracle[query[: (len(expected) + 1) * BLOCK]])
    node, pages = tree.match("", query)
    assert pages == expected
    assert (node.path() if node else []) == expected


@given(st.lists(words, min_size=1, max_size=8), st.data())
def test_eviction_frees_every_page_that_no_lock_protects_and_no_other(keys: list[bytes], data: st.DataObject) -> None:
    tree = tree_with(*keys)
    locked = [tree.match("", key)[0] for key in data.draw(st.lists(st.sampled_from(keys), max_size=3))]
    for node in locked:
        tree.lock(node)
    protected = {page for node in locked if node for page in node.path()}
    everything = set(tree.pages())
    assert tree.evictable == len(everything - protected)
    freed: list[int] = []
    while got := tree.evict(data.draw(st.integers(1, 3))):
        freed += got
    assert sorted(freed) == sorted(everything - protected)
    assert set(tree.pages()) == protected
    for node in locked:
        tree.unlock(node)
    assert sorted(tree.evict(10**6)) == sorted(protected)
    assert tree.evictable == 0
    assert not list(tree.nodes())


def test_the_least_recently_matched_end_goes_first() -> None:
    tree = tree_with(b"aabb", b"aacc")
    tree.match("", b"aabb")
    assert tree.evict(1) == [3]
    assert tree.evict(2) == [1, 0]


def test_salts_do_not_share() -> None:
    tree = tree_with(b"aabb")
    assert tree.match("other", b"aabb") == (None, [])


def test_prune_forgets_only_what_nobody_uses() -> None:
    tree = tree_with(b"aabb")
    short, _ = tree.match("", b"aa")
    tree.lock(short)
    long, _ = tree.match("", b"aabb")
    assert tree.prune(long) == [1]
    tree.unlock(short)
    assert tree.prune(short) == [0]


@settings(max_examples=20)
@given(st.lists(st.tuples(words, st.booleans()), max_size=30))
def test_the_heap_of_leaves_does_not_grow_without_bound(steps: list[tuple[bytes, bool]]) -> None:
    tree = tree_with(b"aabbcc")
    for key, lock in steps * 20:
        node, _ = tree.match("", key)
        if lock:
            tree.lock(node)
            tree.unlock(node)
    assert len(tree._leaves) <= 64 + 4 * 3 + 1


def test_matching_two_thousand_tokens_takes_a_step_for_each_block_and_not_for_each_token() -> None:
    tree = RadixTree(16 * 8)
    key = array("q", range(2000)).tobytes()
    tree.insert("", key, list(range(125)))
    tree.insert("", key[:1024] + key[:1024], list(range(200, 216)))
    assert _lines(tree, key) < 4 * 125


def _lines(tree: RadixTree, key: bytes) -> int:
    """Lines of Python that a match runs."""
    lines = 0

    def traced(frame: FrameType, event: str, argument: object) -> Callable[..., object]:
        nonlocal lines
        lines += event == "line"
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        tree.match("", key)
    finally:
        sys.settrace(before)
    return lines
