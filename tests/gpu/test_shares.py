"""Products in shares of their columns on a real device, whatever a contest would say: all that the library offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rustinfer import ops
from rustinfer.backends.cublas import shares
from rustinfer.backends.cublas.lt import WORKSPACE, Algorithm, LtError, Product
from rustinfer.registry import Target

pytest.importorskip("triton", reason="triton is not installed: pip install 'rustinfer[cuda]'")

from rustinfer.backends.triton import triton as backend

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]
ROWS, OUTPUTS, COLUMNS = 96, 2048, 1024


def drawn(*size: int) -> Tensor:
    return torch.randn(*size, device="cuda").bfloat16()


def far(got: Tensor, want: Tensor) -> float:
    """The relative distance."""
    return float((got.double() - want.double()).norm() / want.double().norm())


def running(product: Product, x: Tensor) -> Iterator[tuple[Algorithm, Tensor]]:
    """What is offered and not refused when it is run, and what that gives."""
    space = torch.empty(WORKSPACE, dtype=torch.uint8, device="cuda")
    for algorithm in product.offers():
        out = torch.full((product.shares, product.rows, len(product.weight)), torch.nan, device="cuda")
        try:
            product.run(algorithm, x, out, space)
        except LtError:
            continue
        yield algorithm, out


def test_every_algorithm_that_is_offered_gives_the_shares() -> None:
    x, weight = drawn(ROWS, COLUMNS), drawn(OUTPUTS, COLUMNS)
    parts = zip(x.double().chunk(2, 1), weight.double().chunk(2, 1), strict=True)
    want = torch.stack([rows @ matrix.T for rows, matrix in parts])
    found = [far(out, want) for _, out in running(Product(ROWS, weight, torch.float32, shares=2), x)]
    assert found
    assert max(found) < 1e-4  # of sums in fp32


@pytest.mark.parametrize("biased", [False, True])
def test_the_norm_adds_them_up(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, residual, weight = drawn(ROWS, COLUMNS), drawn(ROWS, OUTPUTS), drawn(OUTPUTS, COLUMNS) * 0.05
    bound = {"weight": weight, "bias": drawn(OUTPUTS) if biased else None, "norm": drawn(OUTPUTS), "eps": 1e-5}
    made: list[int] = []

    def choose(product: Product, *rest: object) -> Algorithm:
        made.append(product.shares)
        return next(algorithm for algorithm, _ in running(product, x))

    monkeypatch.setattr(shares, "choose", choose)
    target = Target.of("cuda", torch.bfloat16).decoding(ROWS)
    call = backend.kernels["linear_add_rms_norm"].build(target, **bound)
    assert made == [2]
    exact = {name: part.double() if isinstance(part, Tensor) else part for name, part in bound.items()}
    for rows in (ROWS, ROWS - 7):  # fewer are a whole product
        want = ops.linear_add_rms_norm.reference(x[:rows].double(), residual[:rows].double(), **exact)
        for got, right in zip(call(x[:rows], residual[:rows]), want, strict=True):
            assert far(got, right) < 5e-3
