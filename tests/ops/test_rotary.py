from __future__ import annotations

import torch

from rustinfer import ops
from rustinfer.ops.inputs import Draw
from rustinfer.ops.rotary import table

DRAW = Draw("rotary", torch.float32, torch.device("cpu"))
TABLE = table(DRAW, 128, 16)


def test_rope_is_complex_multiplication_of_the_halves() -> None:
    x, positions = torch.randn(6, 3, 16), torch.tensor([0, 5, 1, 127, 5, 64])
    turned = torch.complex(x[..., :8], x[..., 8:]) * torch.complex(TABLE["cos"], TABLE["sin"])[positions, None]
    torch.testing.assert_close(ops.rope(x, positions, **TABLE), torch.cat((turned.real, turned.imag), -1))


def test_position_zero_leaves_a_head_as_it_is() -> None:
    x = torch.randn(2, 3, 16).bfloat16()
    assert torch.equal(ops.rope(x, torch.zeros(2, dtype=torch.int64), **TABLE), x)


def test_products_depend_on_the_distance_alone() -> None:
    q, k = torch.randn(1, 1, 16), torch.randn(1, 1, 16)

    def product(a: int, b: int) -> torch.Tensor:
        total: torch.Tensor = (ops.rope(q, torch.tensor([a]), **TABLE) * ops.rope(k, torch.tensor([b]), **TABLE)).sum()
        return total

    torch.testing.assert_close(product(9, 4), product(105, 100), atol=1e-4, rtol=1e-4)
