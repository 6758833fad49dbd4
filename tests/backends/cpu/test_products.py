"""Products at every row count that takes another path through the kernels, against float64."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from rustinfer.backends.cpu import compiler, set_threads
from rustinfer.backends.cpu.plan import weight_refusal
from rustinfer.ops.inputs import Draw
from rustinfer.registry import FP8, INT4, INT8, Format, PackedWeight, Weight, dense

from .conftest import Bind

CPU = torch.device("cpu")
ROWS = (1, 2, 3, 4, 5, 6, 7, 12, 13, 24, 31, 256, 300)
WEIGHTS = {"dense": None, "int4": (INT4, 32), "int4 of 96": (INT4, 96), "int8": (INT8, 64)}


def weight_of(kind: tuple[Format, int] | None, d: Draw, rows: int, columns: int) -> Weight:
    if kind is None:
        return d.weight(rows, columns)
    return d.packed(kind[0], rows, columns, kind[1], zeros="free" if kind[0] is INT4 else "")


def exact(x: Tensor, weight: Weight) -> Tensor:
    """The product in float64; of a packed weight, of its values before they are rounded to its dtype."""
    values = weight.unpacked() if isinstance(weight, PackedWeight) else weight
    return x.double() @ values.double().T


def close(got: Tensor, want: Tensor, dtype: torch.dtype) -> None:
    """Within rounding to the dtype: float32 keeps its own, bfloat16 one rounding of the result."""
    limit = {torch.float32: 5e-6, torch.bfloat16: 2.0**-8}[dtype]
    error = (got.double() - want).abs() / (want.abs() + want.std())
    assert error.max() < limit, f"off by {error.max():.1e} of its size"


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("rows", ROWS)
def test_linear(bind: Bind, dtype: torch.dtype, kind: str, rows: int) -> None:
    d = Draw(f"{kind} {rows}", dtype, CPU)
    columns = 608 if kind == "dense" else 576
    weight, bias, x = weight_of(WEIGHTS[kind], d, 75, columns), d.normal(75), d.normal(rows, columns)
    got = bind(dtype).linear(weight=weight, bias=bias)(x)
    close(got, exact(x, weight) + bias.double(), dtype)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 255, 257, 520])
@pytest.mark.parametrize("rows", [1, 4, 5, 17])
def test_dense_columns(bind: Bind, dtype: torch.dtype, rows: int, columns: int) -> None:
    d = Draw(f"{rows}x{columns}", dtype, CPU)
    weight, x = d.weight(33, columns), d.normal(rows, columns)
    close(bind(dtype).linear(weight=weight)(x), exact(x, weight), dtype)


@pytest.mark.parametrize("kind", [(INT4, 32), (INT8, 32)], ids=["int4", "int8"])
def test_repacking_keeps_every_number(bind: Bind, kind: tuple[Format, int]) -> None:
    weight = weight_of(kind, Draw("identity", torch.float32, CPU), 70, 128)
    got = bind(torch.float32).linear(weight=weight)(torch.eye(128))
    torch.testing.assert_close(got.T, dense(weight), rtol=1e-6, atol=1e-6)


def test_float32_scales(bind: Bind, dtype: torch.dtype) -> None:
    d = Draw("wide scales", dtype, CPU)
    half = d.packed(INT4, 40, 64, 32, zeros="free")
    assert half.zeros is not None
    wide = PackedWeight(INT4, half.data, half.scales.float() * 1.0001, half.zeros.float(), 32, half.shape, half.dtype)
    for rows in (1, 9):
        x = d.normal(rows, 64)
        close(bind(dtype).linear(weight=wide)(x), exact(x, wide), dtype)


@pytest.mark.parametrize("kind", [(INT4, 32), (INT8, 64)], ids=["int4", "int8"])
def test_many_rows_are_what_each_is_alone(bind: Bind, kind: tuple[Format, int]) -> None:
    """At the ends of what integers hold; to the bit where they are, though many rows are multiplied in another way."""
    d = Draw("extremes", torch.bfloat16, CPU)
    weight, x = weight_of(kind, d, 40, 576), d.normal(45, 576)
    weight.data[:8], weight.data[8:16] = (255, 0) if kind[0] is INT4 else (127, -128)
    x[:4], x[4:8] = 3.0, -3.0
    call = bind(torch.bfloat16).linear(weight=weight)
    alone = torch.cat([call(row) for row in x.split(1)])
    assert torch.equal(call(x), alone) or not integers()
    for found in (call(x), alone):
        close(found, exact(x, weight), torch.bfloat16)


def integers() -> bool:
    """Whether rows of bfloat16 are multiplied as integers on this machine. Otherwise their sums depend on an order."""
    command = [str(compiler.find_compiler()), compiler.MACHINE, "-dM", "-E", "-xc++", "/dev/null"]
    return "__AVX512VNNI__" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_numbers_that_are_not_finite_reach_the_output(bind: Bind, dtype: torch.dtype) -> None:
    weight = Draw("not finite", dtype, CPU).packed(INT4, 32, 64, 32, zeros="free")
    for bad in (torch.nan, torch.inf):
        x = torch.ones(1, 64, dtype=dtype)
        x[0, 40] = bad
        assert not bind(dtype).linear(weight=weight)(x).isfinite().any()


def test_threads_change_nothing(bind: Bind, dtype: torch.dtype) -> None:
    d = Draw("threads", dtype, CPU)
    weight, x = d.packed(INT4, 500, 256, 32, zeros="free"), d.normal(70, 256)
    call = bind(dtype).linear(weight=weight)
    many = call(x)
    set_threads(1)
    one = call(x)
    assert torch.equal(one, many)


def test_calls_from_several_threads_at_once(bind: Bind) -> None:
    d = Draw("callers", torch.bfloat16, CPU)
    call = bind(torch.bfloat16).linear(weight=d.packed(INT8, 640, 256, 32))
    inputs = [d.normal(rows, 256) for rows in (1, 3, 40, 7)] * 25
    want = [call(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(call, inputs))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_repacked_once_for_all_wirings(bind: Bind) -> None:
    from rustinfer.backends.cpu.plan import Pinned

    weight = Draw("shared", torch.bfloat16, CPU).packed(INT8, 64, 64, 32)
    assert Pinned(torch.bfloat16, weight).keep[0] is Pinned(torch.float32, weight).keep[0]


def test_refusals_say_what_is_read() -> None:
    d = Draw("refused", torch.float32, CPU)
    assert weight_refusal(d.weight(4, 64)) is None
    assert weight_refusal(d.packed(INT8, 4, 64, 32)) is None
    assert "not fp8" in str(weight_refusal(d.packed(FP8, 4, 64, 32)))
    assert "not 16" in str(weight_refusal(d.packed(INT8, 4, 64, 16)))
    assert "float16" in str(weight_refusal(d.weight(4, 64).half()))
