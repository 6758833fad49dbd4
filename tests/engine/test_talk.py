"""Words by which a launch of several tokens tells the host: each is read as it comes, and waited for so long."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rustinfer.engine.errors import EngineDead
from rustinfer.engine.flight import Checked
from rustinfer.engine.launch import check_alive
from rustinfer.engine.plan import Plan
from rustinfer.engine.talk import Talks
from rustinfer.registry import KernelFault


def test_words_are_read_as_they_come_and_a_launch_that_never_told_is_an_error() -> None:
    talks = Talks(torch.device("cpu"))
    talk = talks.begin(3, 4, np.array([2, 0]))
    talk.told[0] = torch.tensor([10, -2, 12, -2])
    assert talk.result().tokens == [12, 10]
    talk.told[1] = torch.tensor([10, -2, -1, -2])
    told = talk.result()
    assert (told.tokens, told.unsound) == ([-1, 10], [0])
    talk.stop()
    assert talk.stopped.item() == 1
    with pytest.raises(RuntimeError, match="before it had told") as lost:
        talk.result()
    check_alive(lost.value, Plan())  # it is no reason to give up on the device


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_device_that_tells_nothing_is_waited_for_once_however_many_tokens_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rustinfer.engine.talk.PATIENCE", 0.3)
    monkeypatch.setattr("rustinfer.engine.talk.Pinned.over", lambda _: False)
    clock = Clock()
    monkeypatch.setattr("rustinfer.engine.talk.time", clock)
    talks = Talks(torch.device("cpu"))
    flights = [talks.begin(4, 1, None) for _ in range(2)]
    for flight in flights:
        flight.launched()
    for flight in flights:
        for _ in range(4):
            with pytest.raises(TimeoutError, match="told nothing"):
                flight.result()
    assert 0.3 < clock.now < 0.31
    flights[0].told[0] = 5
    assert flights[0].result().tokens == [5]  # what is there needs no waiting


def test_words_are_used_again_when_all_is_told() -> None:
    talks = Talks(torch.device("cpu"))
    first = talks.begin(2, 1, None)
    first.told[:] = 5
    second = talks.begin(2, 1, None)
    assert first.told.data_ptr() != second.told.data_ptr()
    assert [first.result().tokens, first.result().tokens] == [[5], [5]]
    assert talks.begin(2, 1, None).told.data_ptr() == first.told.data_ptr()


class GaveUp:
    """A kernel that has given up."""

    def check(self) -> None:
        raise KernelFault("decode_tokens: block 3 waited too long")


def test_a_kernel_that_gave_up_on_the_way_is_named_and_not_what_came_of_it() -> None:
    talk = Talks(torch.device("cpu")).begin(4, 1, None)
    talk.told[0] = 7
    checked = Checked(talk, GaveUp())  # type: ignore[arg-type]
    with pytest.raises(KernelFault, match="block 3"):  # not believed, although it was told
        checked.result()
    with pytest.raises(KernelFault, match="block 3") as dead:
        checked.result()
    with pytest.raises(EngineDead, match="a kernel gave up: decode_tokens: block 3"):
        check_alive(dead.value, Plan())
    checked.stop()
    assert talk.stopped.item() == 1
