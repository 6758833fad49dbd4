from __future__ import annotations

import pytest

from rustinfer.server.errors import ApiError
from rustinfer.server.room import BELIEVED_SECONDS, Room


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def full(room: Room, sequences: int) -> bool:
    try:
        room.check(sequences)
    except ApiError as error:
        return (error.status, error.code, error.headers) == (503, "overloaded", {"Retry-After": "1"})
    return False


def test_no_more_than_the_engine_holds() -> None:
    room = Room()
    assert not full(room, 1 << 40)
    room.engine(10)
    room.waiting = 7
    assert [full(room, n) for n in (1, 3, 4)] == [False, False, True]
    room.engine(None)
    assert not full(room, 4)


def test_who_has_begun_and_not_yet_spoken_takes_no_place_of_those_who_wait() -> None:
    room = Room()
    room.engine(2, running=1)
    room.waiting = 2  # prompts that are being computed
    assert [full(room, n) for n in (1, 2)] == [False, True]


def test_what_never_fits_is_not_told_to_come_again() -> None:
    room = Room()
    room.engine(10, running=5)
    for waiting in (0, 12):
        room.waiting = waiting
        with pytest.raises(ApiError, match="11 sequences, and at most 10") as told:
            room.check(11)
        assert told.value.status == 400


@pytest.mark.parametrize("another", [False, True])
def test_what_the_engine_refused_is_not_asked_again_at_once(another: bool) -> None:
    clock = Clock()
    room = Room(clock)
    room.waiting = 20  # 16 of which it refuses
    room.refused(16)
    room.waiting = 4
    assert [full(room, n) for n in (15, 16, 17)] == [False, True, True]
    room.waiting = 3  # one has ended
    assert [full(room, n) for n in (16, 17)] == [False, True]
    if another:
        room.engine(None)
    else:
        clock.now += BELIEVED_SECONDS
    assert not full(room, 17)


def test_an_engine_that_is_full_of_others_is_asked_each_time() -> None:
    room = Room()
    room.waiting = 3
    room.refused(3)
    assert not full(room, 3)
