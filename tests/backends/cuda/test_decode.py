"""The decode kernel's own code against the op's definition, on an emulated GPU: see emulator.h."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer import ops
from rustinfer.backends.cuda import plan
from rustinfer.backends.cuda.arguments import MATRICES
from rustinfer.backends.cuda.decode import Decoder, Steps, refusal, shape
from rustinfer.backends.cuda.fault import explained
from rustinfer.backends.cuda.plan import APART
from rustinfer.models.quantise import SCHEMES
from rustinfer.ops.decode_cases import Stack
from rustinfer.ops.inputs import Draw
from rustinfer.registry import Case
from rustinfer.testing.judge import Judge, outputs
from rustinfer.testing.values import copied, doubled

from .emulation import Emulated

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulation needs g++")
CPU = torch.device("cpu")
SMALL = Stack((40,), 64, 96, 4, 1, 64, 2)


def case(stack: Stack) -> Case:
    """The stack's inputs in bfloat16."""
    d = Draw(str(stack), torch.bfloat16, CPU)
    bound = stack.weights(d)
    return Case(d.name, stack.flow(d), bound, decode=True)


def packed(stack: Stack, scheme: str) -> Case:
    """The same with the weights packed as `--quantization` does."""
    made = case(stack)
    return replace(made, bound={"decoder": packed_decoder(made.bound["decoder"], scheme)})


def packed_decoder(bound: dict[str, Any], scheme: str) -> dict[str, Any]:
    """What is bound, packed."""
    pack, rows = SCHEMES[scheme], SCHEMES["int8"]
    layers = [{**w, **{name: pack(w[name]) for name in MATRICES}} for w in bound["layers"]]
    return {**bound, "layers": layers, "embedding": rows(bound["embedding"]), "head": rows(bound["head"])}


def judge(made: Case) -> Judge:
    """What the definition gives, in bfloat16 and in float64."""
    op, plain, gold = ops.decode_step, copied(made.flow), doubled(copied(made.flow))
    return Judge(
        outputs(op, op(*plain, **made.bound), plain),
        outputs(op, op(*gold, **doubled(made.bound)), gold),
        op.tolerance.slack,
        op.tolerance.floor[torch.bfloat16],
    )


@pytest.mark.parametrize(
    ("stack", "blocks"),
    [
        (Stack((1,)), 3),
        (SMALL, 2),
        (Stack((300,), 576, 256, 9, 3, 64, 1), 7),
        (Stack((17, 1, 33), 96, 160, 4, 4, 128, 2), 4),
        (Stack((5, 64, 0, 130, 16, 2, 99, 65), 128, 64, 8, 2, 64, 2), 9),
        (Stack((150, 90), 128, 64, 8, 2, 64, 2), 19),  # splits of both rows
        (Stack((500,), 128, 64, 8, 2, 64, 1), 19),
        (Stack((250,), 64, 64, 3, 1, 128, 1), 7),  # a head's sums are more than there are threads
        (Stack((700, 20), 64, 64, 5, 1, 128, 1), 20),
        (Stack((20,), 64, 3200, 1, 1, 64, 1), 20),  # hidden units in two chunks
        (Stack((20, 3, 1, 7, 2, 9), 64, 3200, 1, 1, 64, 1), 20),  # of many rows
        (Stack((20,), 3200, 64, 1, 1, 64, 1), 20),  # the width in two chunks
    ],
    ids=str,
)
def test_emulated_kernel_does_what_the_op_says(stack: Stack, blocks: int) -> None:
    made = case(stack)
    judged, kernel = judge(made), Emulated(made, blocks)
    result = kernel(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_step, result, made.flow))


@pytest.mark.parametrize(
    ("scheme", "stack", "blocks"),
    [
        ("int8", Stack((40, 3), 128, 192, 4, 2, 64, 2), 5),
        ("int8", Stack((5, 64, 0, 130, 16, 2, 99, 65), 192, 64, 3, 1, 64, 1), 9),
        ("int8", Stack((40,), 192, 2240, 3, 1, 64, 1), 7),  # more columns than a warp takes at a time
        ("int4", Stack((9,), 512, 2560, 8, 2, 64, 1), 16),
        ("int4", Stack((5, 64, 0), 512, 512, 4, 4, 128, 1), 13),
    ],
    ids=str,
)
def test_packed_weights_stream_as_they_are(scheme: str, stack: Stack, blocks: int) -> None:
    made = packed(stack, scheme)
    judged, kernel = judge(made), Emulated(made, blocks)
    result = kernel(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_step, result, made.flow))


@pytest.mark.parametrize(
    ("scheme", "most", "stack", "blocks"),
    [
        ("", 64, Stack((40, 3), 128, 192, 4, 1, 64, 2), 5),
        ("", 96, Stack((5, 64, 0, 130, 16), 192, 96, 3, 1, 64, 1), 9),
        ("int8", 64, Stack((40,), 192, 128, 3, 1, 64, 1), 5),
        ("int4", 512, Stack((9,), 1024, 512, 8, 4, 128, 1), 16),
    ],
    ids=str,
)
def test_all_chunks_of_a_product_are_as_wide(
    scheme: str, most: int, stack: Stack, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MOST_COLUMNS", most)  # the 8B's 4,096 columns are two chunks
    made = packed(stack, scheme) if scheme else case(stack)
    judged, kernel = judge(made), Emulated(made, blocks)
    assert set(kernel.plan.chunks) == {most}
    result = kernel(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_step, result, made.flow))


@pytest.mark.parametrize(
    ("scheme", "stack", "blocks"),
    [
        ("int8", Stack((40,), 192, 4096, 3, 1, 64, 2), 13),  # 2 chunks, of whose tiles the last are half used
        ("int8", Stack((3,), 128, 8192, 2, 1, 64, 1), 31),  # 4 chunks, each of two warps
        ("int4", Stack((9,), 512, 4096, 8, 2, 64, 2), 17),
        ("int4", Stack((9,), 512, 8192, 8, 2, 64, 1), 31),
    ],
    ids=str,
)
def test_warps_have_hidden_units_of_their_own(scheme: str, stack: Stack, blocks: int) -> None:
    made = packed(stack, scheme)
    judged, kernel = judge(made), Emulated(made, blocks)
    assert kernel.plan.own
    result = kernel(seed=1)
    assert kernel.error == 0, explained(kernel.error)
    judged.require(outputs(ops.decode_step, result, made.flow))


def test_a_hidden_unit_lost_or_no_number_is_told_all_the_same() -> None:
    made = packed(Stack((40,), 128, 4096, 2, 1, 64, 1), "int8")
    lost = Emulated(made, 13)
    lost(dropped=3000)
    assert "waited too long for hidden units" in explained(lost.error)
    made.bound["decoder"]["layers"][0]["mlp_norm"][5] = torch.nan
    kernel = Emulated(made, 13)
    results = [kernel(seed) for seed in range(2)]
    assert kernel.error == 0, explained(kernel.error)
    assert all(result.isnan().all() for result in results)


@pytest.mark.parametrize(
    ("most", "stack", "blocks", "paired"),
    [
        (128, Stack((5, 64, 0, 130, 16, 2, 99, 65), 128, 512, 2, 1, 64, 2), 10, 2),  # hidden units in four parts
        (512, Stack((5, 64, 0, 30, 16, 2, 9), 512, 512, 8, 2, 64, 1), 34, 2),
        (128, Stack((40, 3, 70), 128, 256, 2, 2, 64, 2), 8, 2),  # four rows, which do not share by themselves
        (128, Stack((40, 3, 70, 1, 9), 128, 256, 2, 2, 64, 1), 8, 1),
    ],
    ids=str,
)
def test_two_blocks_share_rows_and_have_half_of_the_columns_each(
    most: int, stack: Stack, blocks: int, paired: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MOST_COLUMNS", most)
    made = case(stack)
    judged, kernel = judge(made), Emulated(made, blocks, {"PAIRED": paired})
    assert kernel.plan.paired == paired
    results = [kernel(seed) for seed in range(2)]
    assert kernel.error == 0, explained(kernel.error)
    assert torch.equal(*results)
    judged.require(outputs(ops.decode_step, results[0], made.flow))


@pytest.mark.parametrize("dropped", [1, 100, 700, 900, 1500])
def test_a_word_lost_between_two_blocks_ends_in_an_error(dropped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_COLUMNS", 64)
    kernel = Emulated(case(Stack((40, 3, 70, 1, 9), 64, 128, 1, 1, 64, 2)), 8)
    assert kernel.plan.paired == 2
    kernel(dropped=dropped)
    assert "waited too long for" in explained(kernel.error)


def test_steps_are_alike_however_blocks_take_turns() -> None:
    kernel = Emulated(case(Stack((150, 90), 64, 64, 2, 1, 64, 2)), 5)
    results = [kernel(seed) for seed in range(5)]  # the halves of the exchange change places each time
    assert kernel.error == 0
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize(("lengths", "apart"), [((21, 200, 5), APART), ((21, 51, 81), 4)], ids=str)
def test_rows_say_the_same_beside_padding_and_without(lengths: tuple[int, ...], apart: int) -> None:
    padded = case(Stack((*lengths, 0), 64, 64, 2, 1, 64, 1))
    *flow, caches = copied(padded.flow)
    some = [part[: len(lengths) + (part.ndim == 1 and len(part) > len(padded.flow[0]))] for part in flow]
    kernels = [Emulated(made, 16, {"APART": apart}) for made in (padded, replace(padded, flow=(*some, caches)))]
    assert len({kernel.plan.rows for kernel in kernels}) == 1
    beside, without = (kernel(seed) for seed, kernel in enumerate(kernels))
    assert torch.equal(beside[: len(lengths)], without)
    # So few sums hardly ever round to other logits: what blocks tell each other of attention, in fp32, would show it.
    theirs, ours = (kernel.shares() for kernel in kernels)
    told = ours != -1
    assert told.any()
    assert torch.equal(theirs[told], ours[told])


@pytest.mark.parametrize("dropped", [1, 100, 700, 900, 1500])
def test_a_lost_word_ends_in_an_error_that_names_the_place(dropped: int) -> None:
    kernel = Emulated(case(SMALL), 2)
    kernel(dropped=dropped)
    assert "waited too long for" in explained(kernel.error)


def test_the_callable_tells_what_its_kernel_reported_and_of_which_shapes() -> None:
    steps, decoder = Steps.__new__(Steps), Decoder.__new__(Decoder)  # neither can be made without a GPU
    decoder.plan, decoder._error = shape(case(SMALL).bound["decoder"], 2, 3), ctypes.c_int64(0)
    steps._made = {16: decoder}
    assert steps.fault() is None
    decoder._error.value = 1 | 4 << 8 | 7 << 16 | 131 << 32
    assert steps.fault() == (
        "block 131 waited too long for attention of layer 7 (up to 2 rows, 2 layers of width 64, pages of 16)"
    )


def test_a_launch_after_an_error_does_nothing() -> None:
    kernel = Emulated(case(SMALL), 2)
    kernel.scratch["error"] += 1
    assert kernel().isnan().all()


def test_blocks_that_wait_for_nobody_give_wrong_numbers() -> None:
    made = case(SMALL)
    judged = judge(made)
    with pytest.raises(AssertionError, match="the result"):
        judged.require(outputs(ops.decode_step, Emulated(made, 2)(blind=True), made.flow))


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (Stack((1,), bias=True), "biases"),
        (Stack((1,), window=8), "window"),
        (Stack((1,), dim=80), "64 or 128"),
        (Stack((1,), heads=9, kv_heads=1), "8 query heads"),
        (Stack((1,), width=33), "blocks of 32"),
    ],
    ids=str,
)
def test_what_it_cannot_run_is_refused_in_words(stack: Stack, words: str) -> None:
    assert words in (refusal(case(stack).bound) or "")
