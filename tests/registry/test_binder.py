from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from rustinfer.errors import Refused
from rustinfer.registry import (
    Backend,
    Binder,
    Binding,
    NoKernelError,
    Policy,
    Requires,
    UnknownBackendError,
    UnknownOpError,
    op,
)
from rustinfer.registry.policy import DEFAULT_ORDER

from .toys import CPU, CUDA, backend, binder, fourfold, registry, scale, twice

X = torch.ones(2)

ABSENT = (("vnni", "is not installed"),)


def test_the_reference_runs_where_nothing_else_does() -> None:
    ops = binder()
    assert ops.scale(weight=2.0)(X).tolist() == [2.0, 2.0]
    assert ops.bindings[0].backend == "reference"
    assert ops.bindings[0].rejected == tuple((name, "is not installed") for name in ("vnni", "cpu", "torch"))
    assert ops.bindings[0].why().startswith("-  scale -> reference\n")
    assert ops.bindings[0].deterministic
    assert not ops.bindings[0].capturable  # it may look at the host


def test_an_installed_back_end_is_available_but_not_chosen() -> None:
    assert binder(backend()).scale(weight=2.0)(X).tolist() == [2.0, 2.0]


def test_prefer_goes_before_the_device_order() -> None:
    assert binder(backend(), prefer=("toy",)).scale(weight=2.0)(X).tolist() == [1002.0, 1002.0]


def test_an_op_is_asked_for_whole_where_its_parts_do_as_well() -> None:
    assert binder().whole("scale", weight=2.0) is None
    taken, ordered = binder(backend("cpu")).whole("scale", weight=2.0), binder(pins={"scale": "reference"})
    assert taken
    assert taken(X)[0] == 1002
    pinned = ordered.whole("scale", weight=2.0)
    assert pinned
    assert pinned(X).tolist() == [2.0, 2.0]
    assert [each.backend for each in ordered.bindings] == ["reference"]


def test_the_default_order_chooses_by_device() -> None:
    assert binder(backend("cpu")).scale(weight=2.0)(X).tolist() == [1002.0, 1002.0]
    assert Policy(prefer=("toy",)).order("scale", "cuda") == ("toy", *DEFAULT_ORDER["cuda"], "reference")


def test_a_preference_that_refuses_is_passed_over_with_its_words() -> None:
    ops = binder(backend(refusal="too wide"), prefer=("toy",))
    ops.site = "layer.0"
    ops.scale(weight=2.0)
    assert ops.bindings[0].why().splitlines() == [
        "layer.0  scale -> reference",
        "    not toy: too wide",
        "    not vnni: is not installed",
        "    not cpu: is not installed",
        "    not torch: is not installed",
    ]


def test_a_pin_is_an_order() -> None:
    assert binder(backend(), pins={"scale": "toy"}).scale(weight=2.0)(X)[0] == 1002
    ops = binder(backend(refusal="too wide"), pins={"scale": "toy"})
    ops.site = "layer.0"
    with pytest.raises(
        NoKernelError, match=r"no kernel for scale at layer.0 on cpu in float32: toy: too wide"
    ) as caught:
        ops.scale(weight=2.0)
    assert caught.value.refusals == (("toy", "too wide"),)
    assert caught.value.exit_code == 3


def test_a_pin_to_a_back_end_without_the_op_is_refused() -> None:
    with pytest.raises(NoKernelError, match="toy: has no kernel for this op"):
        binder(backend(), pins={"clear": "toy"}).clear()


def test_what_is_missing_on_this_machine_is_said_before_anything_else() -> None:
    with pytest.raises(NoKernelError, match="toy: no compiler found"):
        binder(backend(missing="no compiler found", refusal="x"), pins={"scale": "toy"}).scale(weight=2.0)


def test_a_back_end_that_cannot_tell_what_is_missing_is_passed_over_with_its_words() -> None:
    def broken() -> str | None:
        raise OSError("libacme.so: cannot open shared object file")

    acme = Backend("acme", requires=Requires("cpu"), available=broken)
    acme.kernel(scale)(lambda x, *, weight, bias=0.0: x)
    assert binder(acme).scale(weight=2.0)(X)[0] == 2
    with pytest.raises(NoKernelError, match="acme: cannot tell what it needs: OSError: libacme"):
        binder(acme, pins={"scale": "acme"}).scale(weight=2.0)


def test_policies_that_name_nothing_are_refused_at_once() -> None:
    with pytest.raises(UnknownBackendError, match=r"--prefer acme: .*installed: reference, toy"):
        binder(backend(), prefer=("acme",))
    with pytest.raises(UnknownBackendError, match="--pin scale=acme"):
        binder(backend(), pins={"scale": "acme"})
    with pytest.raises(UnknownOpError, match="--pin scald: no op named scald; known: clear, scale, twice"):
        binder(backend(), pins={"scald": "toy"})


def test_unknown_ops_and_wrong_arguments_are_named() -> None:
    with pytest.raises(Refused, match="no op named 'scald'; registered: clear, scale, twice") as caught:
        binder().scald(weight=1)
    assert caught.value.exit_code == 3
    assert not hasattr(binder(), "scald")
    with pytest.raises(TypeError, match="needs"):
        binder().scale()


def test_a_fused_op_composes_the_best_kernels_of_its_parts() -> None:
    ops = binder(backend(), prefer=("toy",))
    assert ops.twice(weight=1.0)(X).tolist() == [2001.0, 2001.0]
    assert [(b.op.name, b.backend) for b in ops.bindings] == [("scale", "toy"), ("twice", "reference")]
    assert ops.bindings[1].capturable


def whole(name: str) -> Backend:
    """A back end with a kernel for the fused op and none for its parts; it marks its result with 5000."""
    made = Backend(name, requires=Requires("cpu"))
    made.kernel(twice)(lambda x, *, weight: x + 5000)
    return made


def test_a_preference_reaches_the_parts_of_an_op_that_another_claims_whole() -> None:
    ops = binder(backend(), whole("cpu"), prefer=("toy",))
    assert ops.twice(weight=1.0)(X).tolist() == [2001.0, 2001.0]
    assert [(b.op.name, b.backend) for b in ops.bindings] == [("scale", "toy"), ("twice", "reference")]
    assert ops.bindings[1].rejected == (
        ("toy", "has no kernel for this op, but one for scale: the op is composed of its parts"),
    )


def test_a_preference_with_nothing_to_give_leaves_the_whole_op_alone() -> None:
    for ops in (
        binder(backend(), whole("cpu")),
        binder(backend(refusal="too wide"), whole("cpu"), prefer=("toy",)),
        binder(backend(missing="no compiler"), whole("cpu"), prefer=("toy",)),
        binder(backend(), whole("cpu"), prefer=("toy",), pins={"twice": "cpu"}),
        binder(backend(), whole("cpu"), prefer=("cpu", "toy")),
    ):
        assert ops.twice(weight=1.0)(X).tolist() == [5001.0, 5001.0]
        assert [b.op.name for b in ops.bindings] == ["twice"]  # asking for parts has bound none


def test_a_pin_reaches_the_parts_of_an_op_that_another_claims_whole() -> None:
    for policy in ({"pins": {"scale": "toy"}}, {"pins": {"scale": "toy"}, "prefer": ("cpu",)}):
        ops = binder(backend(), whole("cpu"), **policy)
        assert ops.twice(weight=1.0)(X).tolist() == [2001.0, 2001.0]
        assert [(b.op.name, b.backend) for b in ops.bindings] == [("scale", "toy"), ("twice", "reference")]
        assert ops.bindings[1].rejected == (
            *ABSENT[: "prefer" not in policy],
            ("cpu", "scale, a part of it, is pinned to toy: the op is composed of its parts"),
        )
    made = registry(backend(), whole("cpu"))
    made.add_op(fourfold)
    ops = Binder(made, CPU, Policy(pins={"scale": "reference"}))
    assert ops.fourfold(weight=2.0)(X).tolist() == [16.0, 16.0]
    with pytest.raises(NoKernelError, match="no kernel for scale on cpu in float32: toy: too wide"):
        binder(backend(refusal="too wide"), whole("cpu"), pins={"scale": "toy"}).twice(weight=1.0)


def test_a_pin_that_the_whole_honours_or_overrules_leaves_it_alone() -> None:
    for pins in ({"scale": "cpu"}, {"scale": "toy", "twice": "cpu"}, {"clear": "toy"}):
        assert binder(backend(), whole("cpu"), pins=pins).twice(weight=1.0)(X).tolist() == [5001.0, 5001.0]
    made = registry(backend(), whole("cpu"))
    made.add_op(fourfold)
    ops = Binder(made, CPU, Policy(pins={"scale": "toy", "twice": "cpu"}))
    assert ops.fourfold(weight=1.0)(X).tolist() == [10001.0, 10001.0]


def test_in_the_default_order_a_kernel_for_the_whole_goes_before_kernels_for_parts() -> None:
    ops = binder(backend("cpu"), whole("torch"))
    assert ops.twice(weight=1.0)(X).tolist() == [5001.0, 5001.0]
    assert ops.bindings[0].rejected == (*ABSENT, ("cpu", "has no kernel for this op"))


def test_a_pin_to_a_preferred_back_end_is_not_softened_to_its_parts() -> None:
    with pytest.raises(NoKernelError, match="no kernel for twice on cpu in float32: toy: has no kernel for this op"):
        binder(backend(), prefer=("toy",), pins={"twice": "toy"}).twice(weight=1.0)


def test_a_preference_reaches_parts_of_parts() -> None:
    made = registry(backend(), whole("cpu"))
    made.add_op(fourfold)
    ops = Binder(made, CPU, Policy(prefer=("toy",)))
    assert ops.fourfold(weight=1.0)(X).tolist() == [4001.0, 4001.0]
    assert [b.op.name for b in ops.bindings] == ["scale", "twice", "fourfold"]


@op()
def doubled(x: torch.Tensor, *, weight: float) -> torch.Tensor:
    """twice, by whoever has that whole, else by scale."""
    made: torch.Tensor = twice(x, weight=weight)
    return made


@doubled.compose
def _(ops: Binder, *, weight: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return ops.whole("twice", weight=weight) or ops.scale(weight=2 * weight)


@pytest.mark.parametrize(
    ("policy", "said", "names"),
    [
        ({}, 5001.0, ["twice", "doubled"]),
        ({"prefer": ("toy",)}, 1002.0, ["scale", "doubled"]),
        ({"pins": {"twice": "cpu"}}, 5001.0, ["twice", "doubled"]),
    ],
)
def test_a_composition_may_ask_for_a_part_that_somebody_has_whole(
    policy: dict[str, Any], said: float, names: list[str]
) -> None:
    made = registry(backend(), whole("cpu"))
    made.add_op(doubled)
    ops = Binder(made, CPU, Policy(**policy))
    assert ops.doubled(weight=1.0)(X).tolist() == [said, said]
    assert [b.op.name for b in ops.bindings] == names  # asking for parts has bound none


def test_what_a_composition_asks_for_whole_counts_as_its_part() -> None:
    claims = Backend("cpu", requires=Requires("cpu"))
    claims.kernel(doubled)(lambda x, *, weight: x + 7000)
    for others, policy, names in (
        ([backend()], {}, ["doubled"]),
        ([backend()], {"prefer": ("toy",)}, ["scale", "doubled"]),
        ([whole("torch")], {"prefer": ("torch",)}, ["twice", "doubled"]),
        ([whole("torch")], {"pins": {"twice": "torch"}}, ["twice", "doubled"]),
        ([whole("torch")], {"pins": {"twice": "cpu"}}, ["doubled"]),
    ):
        made = registry(claims, *others)
        made.add_op(doubled)
        ops = Binder(made, CPU, Policy(**policy))
        ops.doubled(weight=1.0)
        assert [b.op.name for b in ops.bindings] == names, policy


@op()
def emptied(x: torch.Tensor, *, weight: float) -> torch.Tensor:
    """twice, by whoever has that whole; what it has without is none of that op's parts."""
    made: torch.Tensor = twice(x, weight=weight)
    return made


@emptied.compose
def _(ops: Binder, *, weight: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return ops.whole("twice", weight=weight) or ops.clear()


def test_what_nobody_has_whole_brings_none_of_its_parts() -> None:
    claims = Backend("cpu", requires=Requires("cpu"))
    claims.kernel(emptied)(lambda x, *, weight: x + 7000)
    made = registry(claims, backend())
    made.add_op(emptied)
    ops = Binder(made, CPU, Policy(prefer=("toy",)))  # which has scale, a part of twice
    ops.emptied(weight=1.0)
    assert [(b.op.name, b.backend) for b in ops.bindings] == [("emptied", "cpu")]


def test_strict_forbids_references_on_a_gpu_only() -> None:
    assert binder(strict=True).scale(weight=1.0)(X)[0] == 1
    with pytest.raises(NoKernelError, match="--strict forbids reference kernels on a GPU"):
        binder(target=CUDA, strict=True).scale(weight=1.0)
    with pytest.raises(NoKernelError, match="no kernel for scale"):
        binder(target=CUDA, strict=True).twice(weight=1.0)
    binder(target=CUDA, strict=True, pins={"scale": "reference"}).scale(weight=1.0)


def test_a_reference_on_a_gpu_is_a_warning_with_every_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        binder(backend("triton", device="cuda", refusal="odd width"), target=CUDA).scale(weight=1.0)
    assert "not triton: odd width" in caplog.text
    assert "slow on a GPU" in caplog.text


def test_nobody_is_warned_of_what_was_ordered_or_is_no_reference(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        binder(target=CUDA, pins={"scale": "reference"}).scale(weight=1.0)
        binder(backend("cuda", device="cuda", refusal="odd"), backend("triton", device="cuda"), target=CUDA).scale(
            weight=1
        )
        binder(backend("cpu", refusal="odd")).scale(weight=1.0)
        binder(backend("triton", device="cuda"), target=CUDA).twice(weight=1.0)
    assert caplog.text == ""


def test_a_binder_can_be_copied() -> None:
    assert copy(binder(backend(), prefer=("toy",))).scale(weight=1.0)(X)[0] == 1001


def test_an_invariant_target_takes_what_gives_a_row_the_same_bits_always() -> None:
    alone = replace(CPU, invariant=True)
    with pytest.raises(NoKernelError, match="toy: may give a row other bits when there are other rows"):
        binder(backend(), target=alone, pins={"scale": "toy"}).scale(weight=1.0)
    assert binder(backend(), target=alone, prefer=("toy",)).scale(weight=1.0)(X)[0] == 1
    steady = Backend("toy", requires=Requires("cpu"))
    steady.kernel(scale, batch_invariant=True)(lambda x, *, weight, bias=0.0: x + 1000)
    assert binder(steady, target=alone, prefer=("toy",)).scale(weight=1.0)(X)[0] == 1001


def test_a_reference_that_varies_is_refused_by_an_invariant_target_unless_it_is_composed() -> None:
    varying = op(batch_invariant=False)(twice.reference)
    with pytest.raises(NoKernelError, match="reference: may give a row other bits"):
        Binder(registry(), replace(CPU, invariant=True)).bind(varying, weight=1.0)
    assert Binder(registry(), CPU).bind(varying, weight=2.0)(X)[0] == 4
    varying.compose(twice.composition)
    assert Binder(registry(), replace(CPU, invariant=True)).bind(varying, weight=2.0)(X)[0] == 4


def test_wrap_may_replace_the_callable() -> None:
    seen: list[Binding] = []

    def count(binding: Binding) -> Any:
        seen.append(binding)
        return lambda x: "wrapped"

    assert binder(wrap=count).scale(weight=1.0)(X) == "wrapped"
    assert seen[0].op.name == "scale"


def test_a_decode_target_names_its_rows() -> None:
    assert str(CPU.decoding(8)) == "cpu in float32, up to 8 rows"
    assert str(CUDA) == "cuda sm_90 in bfloat16"
    assert type(CPU).of("cpu", torch.float32) == CPU
