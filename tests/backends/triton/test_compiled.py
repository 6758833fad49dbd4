"""Kernels that only a GPU runs, with what the interpreter leaves out, at least compile for one and fit into it."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: pip install 'rustinfer[cuda]'")

from rustinfer.backends.triton import triton as backend
from rustinfer.registry import INT4, PackedWeight, Target

from .compiled import compiled

SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that one program may have


def target(rows: int, sm: int, dtype: torch.dtype) -> Target:
    """A decoding target on a GPU that need not be here."""
    return Target(torch.device("cuda"), dtype, sm=divmod(sm, 10)).decoding(rows)


@pytest.mark.parametrize("sm", [80, 90])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize("rows", [1, 16])
def test_projection_compiles_and_fits(rows: int, dtype: torch.dtype, sm: int) -> None:
    weight = torch.empty(256, 8192, dtype=dtype)
    call = backend.kernels["linear"].build(target(rows, sm, dtype), weight=weight, bias=None)
    (made,) = compiled(lambda: call(torch.empty(rows, 8192, dtype=dtype)), sm)
    assert made.metadata.shared <= SHARED[sm]
    # From Hopper on, kernels wait for the one ahead of them; for one row, the first weights are read before that.
    lines = made.asm["ptx"].splitlines()
    waits = [i for i, line in enumerate(lines) if "griddepcontrol.wait" in line]
    reads = [i for i, line in enumerate(lines) if "ld.global" in line]
    assert bool(waits) == (sm >= 90)
    if waits and rows == 1:
        assert reads[0] < waits[0]


def packed(rows: int, columns: int) -> PackedWeight:
    """An int4 weight without sensible numbers."""
    scales = torch.empty(rows, columns // 32, dtype=torch.float16)
    data = torch.empty(rows, columns // 2, dtype=torch.uint8)
    return PackedWeight(INT4, data, scales, scales, 32, torch.Size((rows, columns)), torch.bfloat16)


@pytest.mark.parametrize("rows", [1, 8, 100])
def test_packed_projection_compiles_and_fits(rows: int) -> None:
    call = backend.kernels["linear"].build(target(rows, 90, torch.bfloat16), weight=packed(256, 2048), bias=None)
    (made,) = compiled(lambda: call(torch.empty(rows, 2048, dtype=torch.bfloat16)))
    assert made.metadata.shared <= SHARED[90]


@pytest.mark.parametrize("rows", [1, 8])
def test_gate_and_up_compile(rows: int) -> None:
    weight = torch.empty(512, 2048, dtype=torch.bfloat16)
    call = backend.kernels["gate_up_silu"].build(target(rows, 90, torch.bfloat16), weight=weight)
    (made,) = compiled(lambda: call(torch.empty(rows, 2048, dtype=torch.bfloat16)))
    assert made.metadata.shared <= SHARED[90]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_gate_and_up_of_many_rows_compile(dtype: torch.dtype) -> None:
    weight = torch.empty(512, 2048, dtype=dtype)
    call = backend.kernels["gate_up_silu"].build(Target(torch.device("cuda"), dtype, sm=(9, 0)), weight=weight)
    (made,) = compiled(lambda: call(torch.empty(2048, 2048, dtype=dtype)))
    assert made.metadata.shared <= SHARED[90]
    # Both halves of the tile on the tensor cores' own instruction, and no tensor by way of registers.
    assert "wgmma.mma_async" in made.asm["ptx"]
    assert "cp.async.bulk.tensor" in made.asm["ptx"]
    # A short prompt goes to the library: only the activation is ours.
    (short,) = compiled(lambda: call(torch.empty(96, 2048, dtype=dtype)))
    assert short.metadata.name == "gate_mul_kernel"


@pytest.mark.parametrize(
    ("outputs", "columns", "dtype", "sm", "rows", "words"),
    [
        (512, 2048, torch.float32, (9, 0), None, "16-bit weights"),
        (512, 2044, torch.bfloat16, (9, 0), None, "multiples of 8"),
        (520, 2048, torch.bfloat16, (9, 0), None, "multiples of 8"),
        (512, 2048, torch.bfloat16, (8, 9), None, "compute capability 9.0"),
        (512, 2048, torch.bfloat16, (9, 0), 256, "pays from 512 on"),
    ],
)
def test_what_the_product_of_many_rows_refuses(
    outputs: int, columns: int, dtype: torch.dtype, sm: tuple[int, int], rows: int | None, words: str
) -> None:
    place = Target(torch.device("cuda"), dtype, sm=sm, rows=rows)
    told = backend.kernels["gate_up_silu"].refusal(place, {"weight": torch.empty(outputs, columns, dtype=dtype)})
    assert told
    assert words in told


def test_shares_of_long_rows_meet_in_the_workspace() -> None:
    place = target(32, 90, torch.bfloat16)
    call = backend.kernels["linear"].build(place, weight=torch.empty(256, 8192, dtype=torch.bfloat16), bias=None)
    assert place.workspace.nbytes == 0
    (made,) = compiled(lambda: call(torch.empty(32, 8192, dtype=torch.bfloat16)))
    assert "atom" in made.asm["ptx"]
    assert place.workspace.nbytes > 0


@pytest.mark.parametrize(("dim", "dtype"), [(64, torch.bfloat16), (128, torch.bfloat16), (128, torch.float32)])
@pytest.mark.parametrize(
    ("decode", "rows"), [(True, 64), (False, 64), (False, 1024)], ids=["decode", "prefill", "long prefill"]
)
def test_attention_compiles_and_fits(decode: bool, rows: int, dim: int, dtype: torch.dtype) -> None:
    sequences = rows if decode else 1
    place = target(rows, 90, dtype) if decode else Target(torch.device("cuda"), dtype, sm=(9, 0))
    call = backend.kernels["attention"].build(place, scale=0.1, window=0)
    cache = torch.empty(rows, 8, 16, dim, dtype=dtype)
    q = torch.empty(rows, 32, dim, dtype=dtype)
    starts, lengths = torch.zeros(sequences + 1, dtype=torch.int32), torch.zeros(sequences, dtype=torch.int32)
    pages = torch.zeros(sequences, 33, dtype=torch.int32)
    (made,) = compiled(lambda: call(q, cache, cache, starts, lengths, pages))
    several = 3 if (dim, decode, rows) == (64, False, 1024) else 1  # blocks that a multiprocessor must have room for
    assert several * made.metadata.shared <= SHARED[90]
    # Tiles of pages that follow each other come by TMA.
    assert ("cp.async.bulk.tensor" in made.asm["ptx"]) == (not decode and dtype == torch.bfloat16)


def test_sampling_compiles() -> None:
    call = backend.kernels["sample"].build(target(4, 90, torch.float32))
    real, whole = torch.ones(4), torch.ones(4, dtype=torch.int64)
    made = compiled(lambda: call(torch.zeros(4, 128256), real, whole, real, real, whole, whole))
    assert [m.metadata.name for m in made][-1] == "draw_kernel"
    assert len(made) == 5


@pytest.mark.parametrize("name", ["mask_logits", "bias_logits", "keep_typical"])
def test_masks_compile(name: str) -> None:
    call = backend.kernels[name].build(target(4, 90, torch.float32))
    logits, rows, real = torch.zeros(4, 128256), torch.arange(4), torch.ones(4)
    flow = {
        "mask_logits": (torch.zeros(4, 4008, dtype=torch.int32),),
        "bias_logits": (rows, real),
        "keep_typical": (real, real),
    }
    (made,) = compiled(lambda: call(logits, rows, *flow[name]))
    assert made.metadata.shared <= SHARED[90]
