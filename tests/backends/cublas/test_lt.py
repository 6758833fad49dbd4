"""What the library is told of a product's matrices, one or several: it is a stand-in that writes down what it hears."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any

import pytest
import torch

from rustinfer.backends.cublas import lt

WEIGHT = torch.zeros(32, 128, dtype=torch.bfloat16)
BF16, FP32 = 14, 0


class Library:
    """Of each layout, by its number: type, rows, columns, how far columns are apart, and attributes."""

    def __init__(self) -> None:
        self.layouts: dict[int, list[int]] = {}
        self.attributes: dict[int, dict[int, int]] = {}

    def cublasLtMatrixLayoutCreate(self, made: Any, *what: int) -> int:  # noqa: N802
        made._obj.value = number = len(self.layouts) + 1
        self.layouts[number], self.attributes[number] = list(what), {}
        return 0

    def cublasLtMatrixLayoutSetAttribute(self, made: c_void_p, name: int, value: Any, size: int) -> int:  # noqa: N802
        assert made.value
        self.attributes[made.value][name] = value._obj.value
        return 0

    def __getattr__(self, name: str) -> Any:
        return lambda *rest: 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    heard = Library()
    monkeypatch.setattr(lt, "library", lambda: heard)
    monkeypatch.setattr(lt, "handle", lambda device: c_void_p(1))
    return heard


def test_a_whole_product_is_one_of_each_matrix(library: Library) -> None:
    lt.Product(96, WEIGHT, torch.bfloat16)
    assert list(library.layouts.values()) == [[BF16, 128, 32, 128], [BF16, 128, 96, 128], [BF16, 32, 96, 32]]
    assert not any(library.attributes.values())


def test_shares_are_parts_of_rows_and_sums_one_behind_the_other(library: Library) -> None:
    lt.Product(96, WEIGHT, torch.float32, shares=2)
    assert list(library.layouts.values()) == [[BF16, 64, 32, 128], [BF16, 64, 96, 128], [FP32, 32, 96, 32]]
    apart = [each[lt.LAYOUT_STRIDE] for each in library.attributes.values()]
    assert apart == [64, 64, 32 * 96]  # numbers from one share to the next
    assert [each[lt.LAYOUT_COUNT] for each in library.attributes.values()] == [2, 2, 2]
