"""The store of responses is bounded in number and size."""

from __future__ import annotations

from rustinfer.server.responses.store import Entry, ResponseStore


def entry(id: str, text: str = "", owner: str = "") -> Entry:
    return Entry(owner, {"id": id}, [{"role": "user", "content": text}])


def test_the_oldest_goes_first() -> None:
    store = ResponseStore(most=3)
    for id in "abcd":
        store.put(entry(id))
    assert store.get("a", "") is None
    assert [store.get(id, "") is not None for id in "bcd"] == [True] * 3


def test_size_is_bounded() -> None:
    store = ResponseStore(most_bytes=10_000)
    for number in range(100):
        store.put(entry(str(number), "x" * 1000))
    assert len(store) == 9
    store.put(entry("huge", "x" * 20_000))
    assert len(store) == 0
    assert store._size == 0


def test_a_newer_state_replaces_and_owners_are_kept_apart() -> None:
    store = ResponseStore()
    store.put(entry("a", "x" * 100, "me"))
    store.put(entry("a", "", "me"))
    assert len(store) == 1
    assert store._size < 100
    assert store.get("a", "you") is None


def test_it_is_read_while_large_answers_are_put_by_threads() -> None:
    store = ResponseStore()

    class Between(str):
        """An owner at whose comparison another thread has its turn."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            store.put(Entry("else", {"id": f"late {len(store)}", "output": []}, []))
            return str.__eq__(self, other)

    for number in range(2):
        store.put(Entry("me", {"id": str(number), "output": [{"id": f"item {number}"}]}, []))
    assert set(store.said(Between("me"))) == {"item 0", "item 1"}
