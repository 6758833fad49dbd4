from __future__ import annotations

from functools import partial
from typing import Any, TypedDict, Unpack

import pytest
import torch
from torch import Tensor

from rustinfer.registry import Case, DefinitionError, Target, op
from rustinfer.registry.op import frozen

from .toys import clear, scale, twice


def test_positional_parameters_flow_and_keyword_only_ones_are_bound() -> None:
    assert scale.flow == ("x",)
    assert scale.bound == ("weight", "bias")
    assert clear.mutates == ("x",)


def test_calling_an_op_runs_its_reference() -> None:
    assert scale(torch.tensor([2.0]), weight=torch.tensor([3.0]), bias=1.0).item() == 7.0


def test_str_shows_the_signature_and_summary_the_first_line() -> None:
    assert str(scale).startswith("scale(x:")
    assert repr(scale) == f"<Op {scale}>"
    assert scale.summary == "Multiply by weight, then add bias."


def test_complete_fills_defaults_and_names_what_is_wrong() -> None:
    assert scale.complete({"weight": 1}) == {"weight": 1, "bias": 0.0}
    with pytest.raises(TypeError, match=r"scale needs \['weight'\]"):
        scale.complete({})
    with pytest.raises(TypeError, match=r"not \['gain'\]"):
        scale.complete({"weight": 1, "gain": 2})


def test_an_op_may_not_take_variable_arguments() -> None:
    with pytest.raises(DefinitionError, match=r"\['rest'\]"):

        @op()
        def loose(x: Tensor, *rest: Tensor) -> Tensor:
            return x


def test_mutates_must_name_positional_parameters() -> None:
    with pytest.raises(DefinitionError, match=r"mutates \['weight'\]"):

        @op(mutates=("weight",))
        def wrong(x: Tensor, *, weight: Tensor) -> Tensor:
            return x


def test_cases_are_made_anew_and_their_absence_is_reported() -> None:
    @op()
    def same(x: Tensor) -> Tensor:
        return x

    with pytest.raises(LookupError, match="same has no cases"):
        list(same.make_cases(torch.float32, torch.device("cpu")))

    @same.cases
    def cases(dtype: torch.dtype, device: torch.device) -> list[Case]:
        return [Case("one", (torch.ones(1, dtype=dtype, device=device),))]

    first, second = (list(same.make_cases(torch.float16, torch.device("cpu"))) for _ in range(2))
    assert first[0].flow[0].dtype is torch.float16
    assert first[0].flow[0] is not second[0].flow[0]


def test_mutants_share_the_signature_and_have_names_of_their_own() -> None:
    @op()
    def same(x: Tensor) -> Tensor:
        return x

    @same.mutant("doubled")
    def doubled(x: Tensor) -> Tensor:
        return 2 * x

    assert same.mutants == {"doubled": doubled}
    with pytest.raises(DefinitionError, match="already has a mutant 'doubled'"):
        same.mutant("doubled")(doubled)
    with pytest.raises(DefinitionError, match="does not match op same"):
        same.mutant("other")(lambda y: y)


def test_a_composition_binds_what_the_op_binds() -> None:
    assert twice.composition is not None
    with pytest.raises(DefinitionError, match=r"takes \('gain',\), the op binds \('weight',\)"):

        @twice.compose
        def wrong(ops: Any, *, gain: Tensor) -> Any:
            return None


class Scaling(TypedDict):
    weight: Tensor
    bias: float


def test_what_is_only_passed_on_may_be_told_by_a_typed_dictionary() -> None:
    def build(target: Target, **rest: Unpack[Scaling]) -> Any:
        return partial(scale, **rest)

    def untold(target: Target, **rest: Any) -> Any:
        return partial(scale, **rest)

    assert frozen(build) == scale.bound
    scale.check_builder(build)
    with pytest.raises(DefinitionError, match=r"must take \(target, \*, weight, bias\)"):
        scale.check_builder(untold)
    with pytest.raises(DefinitionError, match=r"takes \('weight', 'bias'\), the op binds \('weight',\)"):
        twice.compose(build)
