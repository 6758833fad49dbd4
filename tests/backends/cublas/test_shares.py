"""Products in shares of their columns: when they are made so, and what comes of them. The library is a stand-in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.backends.cublas import shares, timed
from rustinfer.backends.cublas.choice import Choices
from rustinfer.backends.cublas.lt import Algorithm, LtError
from rustinfer.backends.cublas.shares import SHARES, in_shares
from rustinfer.registry import Target

TARGET = Target(torch.device("cpu"), torch.bfloat16).decoding(96)
X, WEIGHT = torch.randn(96, 128).bfloat16(), torch.randn(8, 128).bfloat16()


class Shared:
    """As `Product` is made, and runs as torch does."""

    def __init__(
        self, rows: int, weight: Tensor, out_dtype: torch.dtype, bias: Tensor | None = None, shares: int = 1
    ) -> None:
        self.rows, self.weight, self.out_dtype, self.bias, self.shares = rows, weight, out_dtype, bias, shares

    def run(self, used: Algorithm, x: Tensor, out: Tensor, space: Tensor, weight: Tensor | None = None) -> None:
        weight = self.weight if weight is None else weight
        parts = zip(x.chunk(self.shares, 1), weight.chunk(self.shares, 1), strict=True)
        out.copy_(torch.stack([a.float() @ b.float().T for a, b in parts]).view(out.shape))


def nothing(x: Tensor, residual: Tensor) -> None:
    """What is behind a product."""


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[int, Algorithm | None]:
    """By the number of shares, what the contest comes to."""
    found: dict[int, Algorithm | None] = {1: Algorithm(), SHARES: Algorithm()}
    monkeypatch.setattr(shares, "Product", Shared)
    monkeypatch.setattr(shares, "choices", lambda: Choices(tmp_path / "a.json"))
    monkeypatch.setattr(shares, "choose", lambda product, *rest: found[product.shares])
    monkeypatch.setattr(timed, "on_gpu", lambda weight: True)
    return found


def test_the_sums_of_all_shares_are_the_product(chosen: dict[int, Algorithm | None]) -> None:
    call = in_shares(TARGET, WEIGHT, None, nothing, nothing, "norm")
    assert call
    sums = call(X)
    assert (sums.shape, sums.dtype) == ((SHARES, 96, 8), torch.float32)
    torch.testing.assert_close(sums.sum(0), X.float() @ WEIGHT.float().T)
    assert call(X).data_ptr() == sums.data_ptr()  # from the workspace


def test_what_is_known_takes_no_contest(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted(Shared):
        def __init__(self, *rest: Any, **how: Any) -> None:
            super().__init__(*rest, **how)
            made.append(self.shares)

    monkeypatch.setattr(shares, "Product", Counted)
    monkeypatch.setattr(shares, "choices", lambda: None)
    monkeypatch.setattr(shares, "choose", lambda product, *rest: Algorithm())
    monkeypatch.setattr(timed, "on_gpu", lambda weight: True)
    assert in_shares(TARGET, WEIGHT, None, nothing, nothing, "norm")
    assert made == [SHARES]


def test_a_whole_product_that_is_as_fast_stays(chosen: dict[int, Algorithm | None]) -> None:
    chosen[SHARES] = None
    assert in_shares(TARGET, WEIGHT, None, nothing, nothing, "norm") is None


@pytest.mark.parametrize("best", [None, Algorithm()])
@pytest.mark.parametrize("bias", [None, torch.randn(8).bfloat16()])
def test_what_it_is_held_against_is_the_best_whole_product_with_what_follows_that(
    best: Algorithm | None, bias: Tensor | None, chosen: dict[int, Algorithm | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    words: dict[int, tuple[str, ...]] = {}
    held: list[tuple[Any, ...]] = []
    apart: list[tuple[Tensor, Tensor]] = []
    together: list[tuple[Tensor, Tensor]] = []
    chosen[1] = best

    def choose(product: Shared, known: Choices, contest: Callable[[], Any], *word: str) -> Any:
        words[product.shares] = word
        return contest() if product.shares > 1 else chosen[1]

    monkeypatch.setattr(shares, "choose", choose)
    monkeypatch.setattr(shares, "fastest", lambda *rest: held.append(rest))
    in_shares(TARGET, WEIGHT, bias, lambda *pair: apart.append(pair), lambda *pair: together.append(pair), "norm")
    assert words == {1: (), SHARES: ("norm" if bias is None else "norm bias",)}
    ((product, rival, behind),) = held
    assert product.shares == SHARES
    rival(X, 2 * WEIGHT)
    added = 0 if bias is None or best is not None else bias  # the stand-in's products have none
    torch.testing.assert_close(apart[0][0], (X @ (2 * WEIGHT).T + added), atol=0.5, rtol=0.02)
    behind(X)
    assert together[0][0] is X
    assert together[0][1].shape == apart[0][1].shape == (96, 8)


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        (Target(torch.device("cpu"), torch.bfloat16), WEIGHT),
        (Target(torch.device("cpu"), torch.bfloat16, invariant=True).decoding(96), WEIGHT),
        (TARGET, WEIGHT.float()),
        (TARGET, WEIGHT[:, ::2]),
    ],
)
def test_what_is_not_made_in_shares(target: Target, weight: Tensor, chosen: dict[int, Algorithm | None]) -> None:
    assert in_shares(target, weight, None, nothing, nothing, "norm") is None


@pytest.mark.parametrize("error", [OSError("none here"), LtError("none here"), RuntimeError("none here")])
def test_without_the_library_products_are_whole(
    error: Exception,
    chosen: dict[int, Algorithm | None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*rest: object) -> None:
        raise error

    monkeypatch.setattr(shares, "choose", fail)
    with caplog.at_level(logging.WARNING):
        assert in_shares(TARGET, WEIGHT, None, nothing, nothing, "norm") is None
    assert "not made in shares: none here" in caplog.text
