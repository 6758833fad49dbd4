from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.ops.inputs import strided
from rustinfer.registry import Case, Target, op
from rustinfer.testing import NonconformingError, check
from rustinfer.testing.points import DTYPES

from .toys import MISBEHAVIOURS, accumulate, good, kernel, not_deterministic

CPU = torch.device("cpu")


def first_case(dtype: torch.dtype) -> Case:
    return next(iter(accumulate.make_cases(dtype, CPU)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_good_kernel_passes(dtype: torch.dtype) -> None:
    for case in accumulate.make_cases(dtype, CPU):
        check(kernel(good), case, Target(CPU, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_each_misbehaviour_fails(name: str, dtype: torch.dtype) -> None:
    fn, words = MISBEHAVIOURS[name]
    with pytest.raises((NonconformingError, RuntimeError), match=words):
        check(kernel(fn), first_case(dtype), Target(CPU, dtype))


def test_the_complaint_says_which_kernel_and_case() -> None:
    fn, _ = MISBEHAVIOURS["wrong_value"]
    with pytest.raises(NonconformingError, match=r"^toy's accumulate on 'three' for cpu in float32: "):
        check(kernel(fn), first_case(torch.float32), Target(CPU, torch.float32))


def test_a_kernel_that_claims_no_determinism_may_vary_within_tolerance() -> None:
    check(kernel(not_deterministic, deterministic=False), first_case(torch.float16), Target(CPU, torch.float16))


def test_only_the_second_call_may_be_wrong_and_still_fails() -> None:
    calls = []

    def wears_out(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> Any:
        calls.append(1)
        product, following = good(x, index, total, weight=weight)
        return product * (1 if len(calls) == 1 else 2), following

    with pytest.raises(NonconformingError, match="is off by"):
        check(kernel(wears_out, deterministic=False), first_case(torch.float32), Target(CPU, torch.float32))


def test_a_write_between_the_rows_of_a_strided_input_is_seen() -> None:
    def spills(x: Tensor, index: Tensor, total: Tensor, *, weight: Tensor) -> Any:
        result = good(x, index, total, weight=weight)
        torch.as_strided(x, (1,), (1,), x.shape[1]).zero_()
        return result

    case = first_case(torch.float32)
    case = replace(case, flow=(strided(case.flow[0]), *case.flow[1:]))
    check(kernel(good), case, Target(CPU, torch.float32))
    with pytest.raises(NonconformingError, match="it writes to its input x"):
        check(kernel(spills), case, Target(CPU, torch.float32))


def test_the_target_reaches_the_builder() -> None:
    seen = []

    def build(target: Target, *, weight: Tensor) -> Callable[..., Any]:
        seen.append(target)
        return lambda x, index, total: good(x, index, total, weight=weight)

    target = Target(CPU, torch.float32).decoding(7)
    check(kernel(build, build=True), first_case(torch.float32), target)
    assert seen == [target]


def test_a_builder_gets_the_defaults_that_a_case_leaves_out() -> None:
    @op(rows=("x",))
    def shifted(x: Tensor, *, by: float = 3.0) -> Tensor:
        """x + by."""
        return x + by

    def build(target: Target, *, by: float) -> Callable[..., Any]:
        return lambda x: x + by

    made = kernel(
        build, shifted, build=True, batch_invariant=True, when=lambda bound: "no" if bound["by"] < 0 else None
    )
    check(made, Case("two", (torch.ones(2),)), Target(CPU, torch.float32))


@op()
def square(x: Tensor) -> Tensor:
    """x * x."""
    return x * x


def test_nothing_is_asked_where_the_reference_overflows() -> None:
    case = Case("large", (torch.tensor([300.0, 2.0], dtype=torch.float16),))

    def saturates(x: Tensor) -> Tensor:
        return (x * x).clamp(max=65504)

    check(kernel(saturates, square), case, Target(CPU, torch.float16))


def test_an_infinite_answer_must_be_infinite() -> None:
    case = Case("masked", (torch.tensor([-torch.inf, 2.0]),))
    check(kernel(lambda x: x * x, square), case, Target(CPU, torch.float32))
    with pytest.raises(NonconformingError, match="where the exact value is infinite"):
        check(kernel(lambda x: (x * x).clamp(max=1e30), square), case, Target(CPU, torch.float32))


def test_the_case_itself_is_never_changed() -> None:
    case = first_case(torch.float32)
    before = [x.clone() for x in case.flow]
    check(kernel(good), case, Target(CPU, torch.float32))
    assert all(torch.equal(a, b) for a, b in zip(before, case.flow, strict=True))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_capture_rejects_what_a_replay_gets_wrong() -> None:
    remembered: list[Tensor] = []

    def remembers(x: Tensor) -> Tensor:
        # Right when it is called, but a replay does not run this line again.
        remembered.append(x.clone()) if not torch.cuda.is_current_stream_capturing() else None
        return remembered[-1] * x

    def reads_on_the_host(x: Tensor) -> Tensor:
        return x * torch.tensor(x.tolist(), device=x.device)

    cuda = torch.device("cuda")
    case, target = Case("one", (torch.tensor([3.0, 2.0], device=cuda),)), Target.of(cuda, torch.float32)

    def on_gpu(fn: Callable[..., Any], **options: Any) -> Any:
        made = kernel(fn, square, **options)
        return replace(made, requires=replace(made.requires, device="cuda"))

    check(on_gpu(lambda x: x * x), case, target)
    check(on_gpu(reads_on_the_host, capturable=False), case, target)
    with pytest.raises(RuntimeError, match=r"(?i)captur"):
        check(on_gpu(reads_on_the_host), case, target)
    with pytest.raises(NonconformingError, match="is off by"):
        check(on_gpu(remembers), case, target)
