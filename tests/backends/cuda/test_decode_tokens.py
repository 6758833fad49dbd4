"""Several tokens in a launch: the decode kernel's own code against the op's definition, on an emulated GPU."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rustinfer import ops
from rustinfer.backends.cuda import plan
from rustinfer.backends.cuda.decode import Runs, Steps
from rustinfer.backends.cuda.fault import explained
from rustinfer.backends.cuda.plan import Plan
from rustinfer.ops.decode_cases import Stack
from rustinfer.ops.decode_tokens import NOTHING, UNSOUND
from rustinfer.ops.decode_tokens_cases import run
from rustinfer.ops.inputs import Draw
from rustinfer.registry import Case, Target
from rustinfer.testing.judge import Judge, outputs
from rustinfer.testing.values import copied, doubled

from .emulation import Emulated
from .test_decode import packed_decoder

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation needs g++")
CPU = torch.device("cpu")
NAMES = [case.name for case in ops.decode_tokens.make_cases(torch.bfloat16, CPU) if len(case.flow[0])]


def case(name: str) -> Case:
    """The case of that name, in bfloat16."""
    return next(case for case in ops.decode_tokens.make_cases(torch.bfloat16, CPU) if case.name == name)


def judge(made: Case) -> Judge:
    """What the definition gives, in bfloat16 and in float64."""
    op, plain, gold = ops.decode_tokens, copied(made.flow), doubled(copied(made.flow))
    op(*plain, **made.bound)
    op(*gold, **doubled(made.bound))
    return Judge(outputs(op, None, plain), outputs(op, None, gold), 2.0, op.tolerance.floor[torch.bfloat16])


@pytest.mark.parametrize("name", NAMES)
def test_emulated_kernel_draws_what_the_op_draws(name: str) -> None:
    made = case(name)
    judged, kernel = judge(made), Emulated(made, 5)
    kernel.run(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_tokens, None, made.flow))


def test_packed_weights_whose_warps_have_their_own_hidden_units_draw_alike() -> None:
    made = run(Draw("one row", torch.bfloat16, CPU), Stack((40,), 128, 4096, 2, 1, 64, 1), 3)
    made = replace(made, bound={**made.bound, "decoder": packed_decoder(made.bound["decoder"], "int8")})
    judged, kernel = judge(made), Emulated(made, 13)
    assert kernel.plan.own
    kernel.run(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_tokens, None, made.flow))


def test_blocks_that_share_rows_draw_what_the_op_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_COLUMNS", 64)
    made = run(Draw("five rows", torch.bfloat16, CPU), Stack((33, 0, 17, 5, 9), 64, 128, 1, 1, 64, 1), 3, hot=(0,))
    judged, kernel = judge(made), Emulated(made, 8)
    assert kernel.plan.paired == 2
    kernel.run(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_tokens, None, made.flow))


def test_launches_are_alike_however_blocks_take_turns_and_whatever_was_before() -> None:
    told, kernel = [], Emulated(case("three rows, one is padding"), 7)
    for seed in range(3):  # the parts of the exchange change places each time
        kernel.case = case("three rows, one is padding")
        kernel.run(seed)
        told.append(kernel.case.flow[6])
    assert kernel.error == 0, explained(kernel.error)
    assert all(torch.equal(words, told[0]) for words in told)


@pytest.mark.parametrize("slots", [4, 8, 10])  # of tiles; qkv has eight, which go ahead of the draw where they fit
def test_a_launch_of_four_says_and_leaves_what_four_of_one_do(slots: int) -> None:
    together, apart = case("one row, greedy"), case("one row, greedy")
    kernel = Emulated(together, 12, {"SLOTS": slots})
    kernel.run(seed=1)
    *flow, told, stop, caches = apart.flow
    for words in told.split(1):
        kernel.case = replace(apart, flow=(*flow, words, stop, caches))
        kernel.run(seed=2)
    assert kernel.error == 0, explained(kernel.error)
    for ours, theirs in zip(together.flow[:-1], apart.flow[:-1], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(together.flow[-1], apart.flow[-1], strict=True):
        assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("lengths", [(15,), (40, 27)], ids=str)
def test_a_launch_as_long_as_may_be_says_what_single_ones_do(lengths: tuple[int, ...]) -> None:
    made = [run(Draw("long", torch.bfloat16, CPU), Stack(lengths), 16, hot=(0,)) for _ in range(2)]
    for case, count in zip(made, (16, 1), strict=True):
        *flow, told, stop, caches = case.flow
        kernel = Emulated(case, 5)
        assert kernel.plan.tokens == 16
        for words in told.split(count):
            kernel.case = replace(case, flow=(*flow, words, stop, caches))
            kernel.run(seed=count)
        assert kernel.error == 0, explained(kernel.error)
    for ours, theirs in zip(made[0].flow[:-1], made[1].flow[:-1], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("bits", [16, 8, 4])
def test_longer_launches_of_few_rows_cost_the_ring_no_slot(
    rows: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = next(size for size in (1, 2, 4, 8) if size >= rows)
    made = [Plan(2048, 8192, 32, 8, 64, 16, 128256, 16, fitting, 132, bits, max(bits, 8), max(bits, 8)) for _ in "ab"]
    slots = made[0].slots
    monkeypatch.setattr(plan, "TOKENS", {})
    assert made[1].tokens == 4
    assert made[1].slots == slots


def test_a_stop_while_it_runs_ends_it_after_the_token_that_is_on_its_way() -> None:
    made, again = (run(Draw("long", torch.bfloat16, CPU), Stack((15,)), 8) for _ in "ab")
    *flow, _, caches = made.flow
    told = flow[6]
    told.zero_()
    kernel = Emulated(replace(made, flow=(*flow, told[0], caches)), 5)  # the first token told is what stops it
    kernel.run(seed=3)
    assert kernel.error == 0, explained(kernel.error)
    ops.decode_tokens(*again.flow, **again.bound)
    assert told.tolist() == [*again.flow[6][:2].tolist(), *[[NOTHING]] * 6]
    assert flow[1].item() == again.flow[1].item() - 6


@pytest.mark.parametrize("dropped", [300, 900, 1700, 1985, 1987, 3000])
def test_a_lost_word_ends_in_an_error_and_nothing_more_is_told(dropped: int) -> None:
    kernel = Emulated(case("one row, greedy"), 2)
    kernel.run(dropped=dropped)
    assert "waited too long for" in explained(kernel.error)
    assert (kernel.case.flow[6] == -9).any()


def test_numbers_that_are_not_finite_are_told_and_spoil_no_other_row() -> None:
    made = case("a page's end on the way")
    made.bound["decoder"]["embedding"][made.flow[0][0]] = torch.nan
    wanted = copied(made.flow)
    ops.decode_tokens(*wanted, **made.bound)
    kernel = Emulated(made, 3)
    kernel.run(seed=2)
    assert kernel.error == 0, explained(kernel.error)
    assert made.flow[6][0, 0] == wanted[6][0, 0] == UNSOUND
    assert torch.equal(made.flow[6][:, 1], wanted[6][:, 1])


def test_one_token_and_several_take_the_same_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Made:
        def __init__(self, plan: Plan, target: Target, bound: object) -> None:
            made.append(plan)

        def fault(self) -> str:
            return "gave up"

    gpu = SimpleNamespace(multi_processor_count=20)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: gpu)
    monkeypatch.setattr("rustinfer.backends.cuda.decode.Decoder", Made)
    target, decoder = Target.of("cpu", torch.bfloat16).decoding(2), case("one row, greedy").bound["decoder"]
    both = Steps(target, decoder), Runs(target, decoder, 16)
    assert len(made) == 1
    assert [call.fault() for call in both] == ["gave up", "gave up"]
    Runs(target, decoder, 32)
    Runs(target.decoding(4), decoder)
    Runs(target, dict(decoder))  # type: ignore[arg-type]
    assert len(made) == 4
