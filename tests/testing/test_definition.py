from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rustinfer.registry import Case, Op, op
from rustinfer.testing import problems, survivors


def double() -> Op:
    """A sound op without mutants."""

    @op()
    def double(x: Tensor) -> Tensor:
        """2 x."""
        return x * 2

    @double.cases
    def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
        yield Case("one", (torch.ones(3, dtype=dtype, device=device),))

    return double


def test_a_sound_op_has_no_problems() -> None:
    sound = double()
    sound.mutant("triples")(lambda x: x * 3)
    sound.mutant("raises")(lambda x: x / 0 @ x @ x)
    sound.mutant("in place")(lambda x: x.mul_(2))
    assert problems(sound) == []


def test_a_mutant_that_lives_is_a_problem() -> None:
    weak = double()
    for i in range(3):
        weak.mutant(f"triples {i}")(lambda x: x * 3)
    weak.mutant("adds one")(lambda x: x + 1)
    assert survivors(weak) == ["adds one"]
    assert problems(weak) == ["no case rejects its mutant 'adds one'"]


def test_few_mutants_are_a_problem() -> None:
    assert problems(double()) == ["it has 0 mutants, fewer than 3"]


def test_no_docstring_and_no_cases_are_problems() -> None:
    @op()
    def bare(x: Tensor) -> Tensor:
        return x

    assert problems(bare) == ["it has no docstring", "it has no cases: add them with @bare.cases"]


def test_two_cases_of_one_name_are_a_problem() -> None:
    twice = double()

    @twice.cases
    def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
        for _ in range(2):
            yield Case("one", (torch.ones(3, dtype=dtype, device=device),))

    assert "two cases are called 'one'" in problems(twice)


def test_a_reference_that_does_not_repeat_itself_is_a_problem() -> None:
    @op()
    def noise(x: Tensor) -> Tensor:
        """Different every time."""
        return x + torch.rand_like(x)

    noise.cases(lambda dtype, device: [Case("one", (torch.ones(3, dtype=dtype, device=device),))])
    assert any(problem.startswith("its reference fails its own cases") for problem in problems(noise))
