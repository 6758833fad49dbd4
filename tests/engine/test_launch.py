"""Steps that cannot be launched: who is to blame, what is tried, and what is said of a device that died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rustinfer.device import short_of_memory
from rustinfer.engine.errors import EngineDead
from rustinfer.engine.launch import Launcher, blame
from rustinfer.engine.plan import Chunk, Plan
from rustinfer.engine.sampled import Flight, Sampled
from rustinfer.engine.sequence import Request, Sequence, State
from rustinfer.protocol.sampling import SamplingParams

from .fakes import Done, Log, engine, request


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


class AcceleratorError(RuntimeError):
    """Named like torch's."""


class Runner:
    def __init__(self, check: Callable[[Plan], None]) -> None:
        self.check = check
        self.tried: list[list[str]] = []
        self.relieved = 0

    def launch(self, plan: Plan) -> Flight:
        self.tried.append([q.request.id for q in plan.sequences()])
        self.check(plan)
        return Done(Sampled([]))

    def relieve(self) -> None:
        self.relieved += 1


def plan(decodes: int, *chunks: int) -> Plan:
    def sequence(name: str, tokens: int) -> Sequence:
        made = Sequence(Request(name, [1] * tokens, SamplingParams()), 0, 0, 5, 0)
        made.computed, made.state = tokens, State.RUNNING
        return made

    return Plan(
        [sequence(f"d{i}", 3) for i in range(decodes)],
        [Chunk(sequence(f"c{i}", count), 0, count, True) for i, count in enumerate(chunks)],
    )


@pytest.mark.parametrize(("decodes", "chunks"), [(8, ()), (5, (4, 4, 4)), (1, (3,)), (0, (2, 2, 2))])
@pytest.mark.parametrize("bad", ["d0", "d4", "c0", "c2"])
def test_halving_finds_the_one_to_blame(bad: str, decodes: int, chunks: tuple[int, ...]) -> None:
    def check(plan: Plan) -> None:
        if any(q.request.id == bad for q in plan.sequences()):
            raise RuntimeError("broken")

    runner, failed = Runner(check), []
    made = plan(decodes, *chunks)
    everybody = {q.request.id for q in made.sequences()}
    flights = Launcher(runner, lambda plan, error: failed.append((plan.sequences()[0].request.id, str(error))))(made)
    launched = [q.request.id for part, _ in flights for q in part.sequences()]
    assert sorted(launched) == sorted(everybody - {bad})
    assert failed == ([(bad, "broken")] if bad in everybody else [])
    assert len(runner.tried) <= 2 * len(everybody)
    assert runner.tried.count([bad]) <= 1


SHORT = [
    OutOfMemoryError("no memory"),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
]


def test_torch_says_what_we_look_for_where_the_host_has_no_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert short_of_memory(caught.value)
    assert not short_of_memory(RuntimeError("broken"))


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_prompt_for_which_memory_is_short_is_tried_with_half_and_goes_on_later(error: Exception) -> None:
    def check(plan: Plan) -> None:
        if plan.tokens > 8:
            raise error

    runner = Runner(check)
    made = plan(0, 16)
    ((shorter, _),) = Launcher(runner, lambda plan, error: pytest.fail("failed"))(made)
    assert (shorter.chunks[0].count, shorter.chunks[0].samples) == (8, False)
    assert shorter.chunks[0].sequence.computed == 8
    assert runner.relieved == 1
    failed: list[Any] = []
    assert Launcher(runner, lambda plan, error: failed.append(type(error)))(plan(0, 64)) == []
    assert failed == [type(error)]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_step_of_one_is_tried_again_when_memory_has_been_given_back(error: Exception) -> None:
    def check(plan: Plan) -> None:
        if runner.relieved < enough:
            raise error

    runner, enough, failed = Runner(check), 1, []  # type: ignore[var-annotated]
    launcher = Launcher(runner, lambda plan, error: failed.append(type(error)))
    assert len(launcher(plan(1))) == 1
    assert not failed
    enough = 9
    assert launcher(plan(1)) == []
    assert failed == [type(error)]
    assert len(runner.tried) == 4


def test_an_engine_short_of_memory_says_all_the_same() -> None:
    e, plain = engine(tokens=16), engine(tokens=16)

    def short(chunk: Chunk) -> bool:
        if chunk.count > 8:
            raise OutOfMemoryError("no memory")
        return False

    e.runner.broken = short
    for each in (e, plain):
        each.add(request("a", range(1, 14), max_tokens=5))
        each.add(request("b", [5, 6], max_tokens=5))
    assert Log().drain(e).tokens == Log().drain(plain).tokens


def test_a_lost_device_is_reported_in_one_line_with_all_that_is_known() -> None:
    names: dict[str, Any] = {"__name__": "acme.kernels.norm", "AcceleratorError": AcceleratorError}
    exec("def rms_norm(): raise AcceleratorError('CUDA error: an illegal memory access\\nCompile with ...')", names)
    with pytest.raises(EngineDead) as dead:
        Launcher(Runner(lambda plan: names["rms_norm"]()), lambda plan, error: None)(plan(9, 4))
    text = str(dead.value)
    assert "\n" not in text
    assert "an illegal memory access (in acme.kernels.norm.rms_norm; a step of 13 tokens of 10 sequences" in text
    assert text.endswith("requests d0, d1, d2, d3, d4, d5, d6, d7 and 2 more)")


def test_what_is_noticed_late_says_so() -> None:
    assert "noticed while waiting" in blame(None)


def test_the_words_of_a_sticky_error_count_whatever_its_type() -> None:
    def check(plan: Plan) -> None:
        raise RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")

    with pytest.raises(EngineDead, match="Triton Error"):
        Launcher(Runner(check), lambda plan, error: None)(plan(1))


def test_a_bound_kernel_is_told_of_by_op_back_end_plugin_and_shapes() -> None:
    from rustinfer import ops
    from rustinfer.registry import Backend, Binder, Policy, Registry, Requires, Target

    acme, registry = Backend("acme", requires=Requires("cpu")), Registry()

    @acme.kernel(ops.silu_mul)
    def silu_mul(x: torch.Tensor) -> torch.Tensor:
        raise AcceleratorError("CUDA error: an illegal memory access")

    registry.add_op(ops.silu_mul, "ops")
    registry.add_backend(acme, "acme-kernels")
    call = Binder(registry, Target.of("cpu", torch.float32), Policy(prefer=("acme",))).silu_mul()

    def check(plan: Plan) -> None:
        call(torch.zeros(2, 8))

    with pytest.raises(EngineDead) as caught:
        Launcher(Runner(check), lambda plan, error: None)(plan(2))
    assert "(in silu_mul by the back end acme (acme-kernels) with x [2, 8] float32; a step of 2 tokens" in str(
        caught.value
    )
    assert "requests d0, d1" in str(caught.value)
