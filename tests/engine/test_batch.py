"""Plans as tensors: what each row is, where it goes, and what padding looks like."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import pytest
import torch

from rustinfer.engine.batch import Batcher, Shape, items
from rustinfer.engine.lanes import Lanes
from rustinfer.engine.plain import is_plain
from rustinfer.engine.plan import Chunk, Plan
from rustinfer.engine.sequence import Request, Sequence
from rustinfer.engine.staging import PENDING, SLOTS, Pinned, Staging
from rustinfer.ops import place_rows
from rustinfer.protocol.sampling import SamplingParams

CPU, PAGE = torch.device("cpu"), 4
PLACE = partial(place_rows, page_size=PAGE)


def sequence(row: int, tokens: list[int], computed: int, pages: list[int], **params: Any) -> Sequence:
    made = Sequence(Request(f"{row}", tokens, SamplingParams(**params)), 0, row, 9, 50 + row)
    made.row, made.computed, made.pages = row, computed, pages
    return made


@pytest.fixture
def lanes() -> Lanes:
    return Lanes(4, 5, PAGE, CPU, items(16, 4))


def test_rows_of_decoding_sequences_and_chunks(lanes: Lanes) -> None:
    known = sequence(2, [5, 6, 7], 3, [9, 1])  # its newest token, 7 at 2, was never drawn here
    drawn = sequence(0, [4, 4, 4, 4], 6, [3, 8])  # its newest token, at 5, was, and the host does not know it
    prompt = sequence(1, [10, 11, 12, 13, 14, 15], 6, [7, 2])
    plan = Plan([drawn, known], [Chunk(prompt, 1, 5, True)], [known, drawn, prompt])
    lanes.follow(plan)
    lanes.drawn[0], lanes.drawn_at[0] = 99, 5
    shape = Shape(7, 3)
    batcher = Batcher(lanes, PLACE)
    batch = batcher.fill(plan, shape)
    step, sampling = batcher.step(shape, 2), batcher.sampling(shape)
    assert step.tokens.tolist() == [99, 7, 11, 12, 13, 14, 15]
    assert step.positions.tolist() == [5, 2, 1, 2, 3, 4, 5]
    assert step.slots.tolist() == [8 * 4 + 1, 9 * 4 + 2, 7 * 4 + 1, 7 * 4 + 2, 7 * 4 + 3, 2 * 4, 2 * 4 + 1]
    assert step.query_starts.tolist() == [0, 1, 2, 7]
    assert step.lengths.tolist() == [6, 3, 6]
    assert step.pages.tolist() == [[3, 8], [9, 1], [7, 2]]
    assert [t.tolist() for t in sampling] == [[0, 1, 6], [0, 2, 1], [2, 0, 0]]
    assert (batch.rows, batch.drawn_at) == ([0, 2, 1], [6, 3, 6])


def test_of_a_step_asked_for_last_rows_each_sequence_has_one(lanes: Lanes) -> None:
    drawn = sequence(0, [4, 4], 2, [3])
    first, second = sequence(1, [1, 2, 3, 4], 3, [7]), sequence(2, [5, 6, 7], 3, [8])
    plan = Plan([drawn], [Chunk(first, 0, 3, False), Chunk(second, 0, 3, True)], [drawn, first, second])
    lanes.follow(plan)
    batcher, shape = Batcher(lanes, PLACE), Shape(9, 5, True)
    batch = batcher.fill(plan, shape)
    last, sampling = batcher.step(shape, 2).last, batcher.sampling(shape)
    assert last is not None
    assert last.tolist() == [0, 3, 6, 8, 8]
    assert sampling.picks.tolist() == [0, 2, 0, 0, 0]
    assert sampling.lanes.tolist() == [0, 2, *[lanes.nobody] * 3]
    assert batch.rows == [0, 2]
    assert batcher.step(Shape(9, 5), 2).last is None


def test_padding_is_one_sequence_that_writes_nothing_and_draws_for_nobody(lanes: Lanes) -> None:
    prompt = sequence(3, [1, 2, 3, 4, 5], 3, [6])
    plan = Plan([], [Chunk(prompt, 0, 3, False)], [prompt])
    lanes.follow(plan)
    batcher, shape = Batcher(lanes, PLACE), Shape(8, 4)
    batcher.fill(Plan(), shape)
    assert batcher.step(shape, 5).query_starts.tolist() == [0, 8, 8, 8, 8]
    batch = batcher.fill(plan, shape)
    step, sampling = batcher.step(shape, 5), batcher.sampling(shape)
    assert step.query_starts.tolist() == [0, 3, 8, 8, 8]
    assert step.lengths.tolist() == [3, 5, 0, 0]
    assert step.slots.tolist() == [24, 25, 26, *[-1] * 5]
    assert step.positions.tolist() == [0, 1, 2, *[0] * 5]
    assert sampling.lanes.tolist() == [lanes.nobody] * 4
    assert (batch.rows, batch.moved, batch.drawn_at) == ([], [3], [-1])


def test_lanes_know_their_owners_and_follow_moves(lanes: Lanes) -> None:
    one = sequence(3, [1, 2], 3, [4, 0], temperature=0.5, top_k=7, min_p=0.25)
    lanes.drawn[3], lanes.drawn_at[3] = 42, 2
    one.row = 1
    lanes.follow(Plan([one], [], [one], [(3, 1)]))
    assert lanes.drawn[1] == 42
    assert lanes.position.tolist() == [-1, 1, -1, -1]
    assert lanes.pages[1].tolist() == [4, 0, 0, 0, 0]
    assert [float(setting[1]) for setting in lanes.settings] == [0.5, 7, 1.0, 0.25, 53]
    assert (lanes.count, lanes.in_order, lanes.mode) == (2, False, (True, False))
    assert lanes.index().tolist() == [1]


def test_what_was_sent_last_is_there_however_often_one_sends() -> None:
    staging = Staging(4, CPU)
    for i in range(3 * SLOTS):
        staging.next()[:2] = i, -i
        staging.send(2)
        assert staging.buffer.tolist() == [i, -i, 0, 0]


def test_plain_parameters_are_those_that_need_no_more_than_a_draw() -> None:
    plain = SamplingParams(temperature=0.3, top_k=4, top_p=0.5, min_p=0.1, seed=3, stop="x", n=2, ignore_eos=True)
    assert is_plain(plain)
    for more in (
        {"logprobs": 0},
        {"min_tokens": 1},
        {"presence_penalty": 0.1},
        {"logit_bias": {1: 2.0}},
        {"best_of": 2},
    ):
        assert not is_plain(SamplingParams(**more))  # type: ignore[arg-type]


def test_pages_arrive_with_their_batch_and_where_they_are_many_before_it(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustinfer.engine.lanes.UPDATES", 2)
    prompt = sequence(1, list(range(20)), 20, [9, 8, 7, 6, 5])
    plan = Plan([], [Chunk(prompt, 0, 20, True)], [prompt])
    lanes.follow(plan)
    assert not lanes.pages.any()
    sent = count_copies(lanes, monkeypatch)
    batcher, shape = Batcher(lanes, PLACE), Shape(20, 1)
    batcher.fill(plan, shape)
    assert lanes.pages[1].tolist() == [9, 8, 7, 6, 0]
    assert batcher.step(shape, 5).tokens.tolist() == list(range(20))
    assert lanes.pages[1].tolist() == [9, 8, 7, 6, 5]
    assert len(sent) == 3
    batcher.fill(plan, shape)
    assert len(sent) == 4


def test_pages_of_a_step_that_was_not_run_are_sent_again(lanes: Lanes) -> None:
    prompt = sequence(1, list(range(8)), 8, [9, 8])
    plan, batcher, shape = Plan([], [Chunk(prompt, 0, 8, True)], [prompt]), Batcher(lanes, PLACE), Shape(8, 1)
    lanes.follow(plan)
    batcher.fill(plan, shape)
    lanes.forget(plan)
    batcher.fill(plan, shape)
    batcher.step(shape, 2)
    assert lanes.pages[1].tolist()[:2] == [9, 8]


def count_copies(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []
    real = lanes._staging.send

    def send(items: int) -> None:
        sent.append(items)
        real(items)

    monkeypatch.setattr(lanes._staging, "send", send)
    return sent


def test_what_a_graph_takes_is_copied_when_it_does() -> None:
    staging = Staging(4, CPU)
    for i in range(1, 4):
        before = staging.buffer.tolist()
        staging.next(inside=True)[:2] = i, -i
        assert staging.buffer.tolist() == before
        staging.take(2)
        assert staging.buffer.tolist() == [i, -i, 0, 0]
        staging.next()[:1] = 9
        staging.send(1)
        assert staging.buffer.tolist() == [9, -i, 0, 0]


def test_whoever_waits_for_a_graph_to_take_does_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    staging, waits = Staging(4, CPU), list[int]()
    monkeypatch.setattr(staging._inside, "wait", lambda: waits.append(1))
    staging.taken()
    staging.next(inside=True)
    assert waits == []
    staging.next(inside=True)  # nobody has waited for the first
    assert waits == [1]
    staging.taken()
    staging.taken()
    staging.next(inside=True)
    assert waits == [1, 1]


def test_numbers_are_read_once_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = Pinned(3, CPU)
    pinned.array[:] = PENDING
    monkeypatch.setattr(pinned, "over", lambda: False)

    def arrive() -> None:
        for i, number in enumerate((4, -1, 5)):
            time.sleep(0.02)
            pinned.array[i] = number

    thread = threading.Thread(target=arrive)
    thread.start()
    assert pinned.fetched(3).tolist() == [4, -1, 5]
    thread.join(10)


def test_numbers_that_never_come_are_not_waited_for() -> None:
    pinned = Pinned(1, CPU)
    pinned.array[:] = PENDING
    assert pinned.fetched(1).tolist() == [PENDING]
    assert pinned.fetched(0).tolist() == []
