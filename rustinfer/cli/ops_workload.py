"""One call of an op at a given size: what `rustinfer ops bench` measures. Sizes left out are those of Llama-3.2-1B."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..models.quantise import SCHEMES
from ..registry import Weight

PAGE = 16
POSITIONS = 8192


@dataclass(frozen=True)
class Workload:
    """A call: what is frozen, what flows, the fewest bytes it must move and the operations it must do."""

    bound: Mapping[str, Any]
    flow: tuple[Any, ...]
    nbytes: float
    flops: float


class Maker:
    """Random tensors of one dtype on one device, and weights packed as asked."""

    def __init__(self, dtype: torch.dtype, device: torch.device, quantization: str | None = None) -> None:
        self.dtype, self.device, self.quantization = dtype, device, quantization

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.dtype, device=self.device).normal_()

    def weight(self, rows: int, columns: int) -> Weight:
        dense = self.normal(rows, columns) * columns**-0.5
        return SCHEMES[self.quantization](dense) if self.quantization else dense

    def indices(self, count: int, below: int) -> Tensor:
        return torch.randint(below, (count,), device=self.device)


def size_of(*tensors: Any) -> float:
    return float(sum(t.nbytes for t in tensors))


def linear(m: Maker, rows: int = 1, columns: int = 2048, outputs: int = 2048) -> Workload:
    x, weight = m.normal(rows, columns), m.weight(outputs, columns)
    made = rows * outputs * x.itemsize
    return Workload({"weight": weight}, (x,), size_of(x, weight) + made, 2 * rows * columns * outputs)


def lm_head(m: Maker, rows: int = 1, columns: int = 2048, outputs: int = 128256) -> Workload:
    x, weight = m.normal(rows, columns), m.weight(outputs, columns)
    flow = (x, torch.arange(rows, device=m.device))
    return Workload({"weight": weight}, flow, size_of(x, weight) + rows * outputs * 4, 2 * rows * columns * outputs)


def embedding(m: Maker, rows: int = 64, columns: int = 2048, outputs: int = 32768) -> Workload:
    weight = m.weight(outputs, columns)
    moved = size_of(weight) / outputs * rows + rows * columns * m.dtype.itemsize
    return Workload({"weight": weight}, (m.indices(rows, outputs),), moved, 0)


def rms_norm(m: Maker, rows: int = 64, columns: int = 2048) -> Workload:
    x = m.normal(rows, columns)
    return Workload({"weight": m.normal(columns), "eps": 1e-5}, (x,), 2 * size_of(x), 0)


def add_rms_norm(m: Maker, rows: int = 64, columns: int = 2048) -> Workload:
    x = m.normal(rows, columns)
    return Workload({"weight": m.normal(columns), "eps": 1e-5}, (x, m.normal(rows, columns)), 4 * size_of(x), 0)


def gated(m: Maker, rows: int = 64, columns: int = 8192) -> Workload:
    """An activation of `columns` outputs."""
    x = m.normal(rows, 2 * columns)
    return Workload({}, (x,), 1.5 * size_of(x), 0)


def tables(m: Maker, dim: int) -> dict[str, Tensor]:
    return {name: m.normal(POSITIONS, dim // 2, dtype=torch.float32) for name in ("cos", "sin")}


def rope(m: Maker, rows: int = 64, heads: int = 32, dim: int = 64) -> Workload:
    x = m.normal(rows, heads, dim)
    return Workload(tables(m, dim), (x, m.indices(rows, POSITIONS)), 2 * size_of(x), 0)


def gate_up_silu(m: Maker, rows: int = 1, columns: int = 2048, hidden: int = 8192) -> Workload:
    x, weight = m.normal(rows, columns), m.weight(2 * hidden, columns)
    made = rows * hidden * x.itemsize
    return Workload({"weight": weight}, (x,), size_of(x, weight) + made, 4 * rows * columns * hidden)


def norm_gate_up_silu(m: Maker, rows: int = 1, columns: int = 2048, hidden: int = 8192) -> Workload:
    plain = gate_up_silu(m, rows, columns, hidden)
    bound = {"norm": m.normal(columns), "eps": 1e-5, **plain.bound}
    x = plain.flow[0]
    return Workload(bound, (x, m.normal(rows, columns)), plain.nbytes + 2 * size_of(x), plain.flops)


def qkv_rope_write(
    m: Maker, rows: int = 1, columns: int = 2048, heads: int = 32, kv_heads: int = 8, dim: int = 64
) -> Workload:
    outputs = (heads + 2 * kv_heads) * dim
    plain = linear(m, rows, columns, outputs)
    bound = {"weight": plain.bound["weight"], "heads": heads, "kv_heads": kv_heads, **tables(m, dim)}
    caches = [m.normal(-(-rows // PAGE), kv_heads, PAGE, dim) for _ in "kv"]
    flow = (*plain.flow, m.indices(rows, POSITIONS), torch.arange(rows, device=m.device), *caches)
    return Workload(bound, flow, plain.nbytes, plain.flops)


def norm_qkv_rope_write(
    m: Maker, rows: int = 1, columns: int = 2048, heads: int = 32, kv_heads: int = 8, dim: int = 64
) -> Workload:
    plain = qkv_rope_write(m, rows, columns, heads, kv_heads, dim)
    x, *rest = plain.flow
    bound = {"norm": m.normal(columns), "eps": 1e-5, **plain.bound}
    return Workload(bound, (x, m.normal(rows, columns), *rest), plain.nbytes + 2 * size_of(x), plain.flops)


def attention(
    m: Maker, sequences: int = 1, rows: int = 1, context: int = 512, heads: int = 32, kv_heads: int = 8, dim: int = 64
) -> Workload:
    """`rows` new rows in each of `sequences` that then have `context` positions."""
    if rows > context:
        raise UserError(f"rows={rows} is more than context={context}: new rows are a part of the context")
    each = -(-context // PAGE)
    q = m.normal(sequences * rows, heads, dim)
    caches = [m.normal(sequences * each, kv_heads, PAGE, dim) for _ in "kv"]
    whole = {"dtype": torch.int32, "device": m.device}
    sizes = {"heads": heads, "kv_heads": kv_heads, "dim": dim}
    starts = torch.arange(sequences + 1, **whole) * rows  # type: ignore[call-overload]
    lengths = torch.full((sequences,), context, **whole)  # type: ignore[call-overload]
    pages = torch.arange(sequences * each, **whole).view(sequences, each)  # type: ignore[call-overload]
    seen = rows * context - rows * (rows - 1) / 2
    flow = (q, *caches, starts, lengths, pages)
    return Workload(
        {"scale": dim**-0.5, **sizes}, flow, 2 * size_of(q) + size_of(*caches), 4 * sequences * seen * heads * dim
    )


def argmax(m: Maker, rows: int = 1, vocab: int = 128256) -> Workload:
    logits = m.normal(rows, vocab, dtype=torch.float32)
    return Workload({}, (logits,), size_of(logits), 0)


def sample(m: Maker, rows: int = 1, vocab: int = 128256) -> Workload:
    """Tokens drawn at temperature 0.6 without limits."""
    logits = m.normal(rows, vocab, dtype=torch.float32)
    real = [torch.full((rows,), value, device=m.device) for value in (0.6, 1.0, 0.0)]
    whole = torch.arange(rows, device=m.device)
    flow = (logits, real[0], torch.zeros_like(whole), *real[1:], whole, whole)
    return Workload({}, flow, size_of(logits), 0)


WORKLOADS: Mapping[str, Callable[..., Workload]] = {
    **{f.__name__: f for f in (linear, lm_head, embedding, rms_norm, add_rms_norm, rope, attention, argmax, sample)},
    **{f.__name__: f for f in (gate_up_silu, norm_gate_up_silu, qkv_rope_write, norm_qkv_rope_write)},
    "silu_mul": gated,
    "gelu_mul": gated,
}
