"""Single ops of one model shape at one row count, over as many distinct weights as the model has layers.

A graph of all layers' calls of one op reads more than the L2 cache holds, so its time divided by the layers is what the
op costs inside a step, its launch included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rustinfer.models.config import ModelConfig
from rustinfer.models.quantise import SCHEMES
from rustinfer.models.rotary import rotary_table
from rustinfer.registry import Binder, Registry, Target, Weight

from .world import DEVICE, PAGE, step

Call = Callable[[], object]


@dataclass(frozen=True)
class Site:
    """An op's calls (one a layer), and the bytes that one call must move and the operations it must do."""

    name: str
    calls: list[Call]
    nbytes: float
    flops: float


def randn(*shape: int, dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    """Gaussian numbers on the device."""
    return torch.empty(shape, dtype=dtype, device=DEVICE).normal_(0, scale)


class Bench:
    """Makes the sites of a configuration for a target."""

    def __init__(
        self, config: ModelConfig, found: Registry, target: Target, *, rows: int, ctx: int,
        copies: int | None = None, packing: str = "",
    ) -> None:  # fmt: skip
        self.config, self.found, self.target, self.rows, self.ctx = config, found, target, rows, ctx
        self.copies, self.packing = copies or config.layers, packing
        self.x = randn(rows, config.width, dtype=target.dtype)
        self.residual = randn(rows, config.width, dtype=target.dtype)

    def build(self, op: str, backend: str | None = None, **bound: object) -> Callable[..., object]:
        """The named back end's kernel, which raises LookupError where it refuses; without a name, a model's."""
        if backend is None:
            return Binder(self.found, self.target).bind(self.found.ops[op], **bound)
        kernel, full = self.found.backends[backend].kernels[op], self.found.ops[op].complete(bound)
        if refusal := kernel.refusal(self.target, full):
            raise LookupError(f"{op}: {refusal}")
        return kernel.build(self.target, **full)

    def weights(self, rows: int, columns: int) -> list[Weight]:
        """One weight a layer, packed if the bench asks for that."""
        dense = (randn(rows, columns, dtype=self.target.dtype, scale=0.02) for _ in range(self.copies))
        return [SCHEMES[self.packing](weight) if self.packing else weight for weight in dense]

    def site(self, name: str, calls: list[Call], weight: float, acts: float, flops: float) -> Site:
        """Bytes of the weight or cache, and elements of activations."""
        return Site(name, calls, weight + acts * self.target.dtype.itemsize, flops)

    def linear(self, name: str, outputs: int, columns: int, backend: str | None = None) -> Site:
        """A plain projection."""
        x = randn(self.rows, columns, dtype=self.target.dtype)
        held = self.weights(outputs, columns)
        bound = [self.build("linear", backend, weight=w) for w in held]
        size = outputs * columns
        calls = [lambda f=f: f(x) for f in bound]
        return self.site(name, calls, held[0].nbytes, self.rows * (outputs + columns), 2 * size * self.rows)

    def gate_up(self) -> Site:
        """Gate, up and SiLU; for one row, with the norm in front."""
        c, fused = self.config, self.rows == 1
        norm = randn(c.width, dtype=self.target.dtype)
        held = self.weights(2 * c.hidden, c.width)
        if fused:
            bound = [self.build("norm_gate_up_silu", norm=norm, eps=1e-5, weight=w) for w in held]
            calls = [lambda f=f: f(self.x, self.residual) for f in bound]
        else:
            bound = [self.build("gate_up_silu", weight=w) for w in held]
            calls = [lambda f=f: f(self.x) for f in bound]
        size = 2 * c.hidden * c.width
        return self.site("gate_up", calls, held[0].nbytes, self.rows * (c.width + c.hidden), 2 * size * self.rows)

    def qkv(self) -> Site:
        """Projection, rotation, cache write; for one row, with the norm in front."""
        c, fused = self.config, self.rows == 1
        outputs = (c.heads + 2 * c.kv_heads) * c.head_dim
        cos, sin = rotary_table(c, c.context, DEVICE)
        norm = randn(c.width, dtype=self.target.dtype)
        s = self.step
        caches = self.caches()
        rest = {"cos": cos, "sin": sin, "heads": c.heads, "kv_heads": c.kv_heads}
        held = self.weights(outputs, c.width)
        if fused:
            bound = [self.build("norm_qkv_rope_write", norm=norm, eps=1e-5, weight=w, **rest) for w in held]
            calls = [
                lambda f=f, k=k: f(self.x, self.residual, s.positions, s.slots, *k)
                for f, k in zip(bound, caches, strict=True)
            ]
        else:
            bound = [self.build("qkv_rope_write", weight=w, **rest) for w in held]
            calls = [lambda f=f, k=k: f(self.x, s.positions, s.slots, *k) for f, k in zip(bound, caches, strict=True)]
        size = outputs * c.width
        return self.site("qkv", calls, held[0].nbytes, self.rows * (c.width + outputs), 2 * size * self.rows)

    def attention(self) -> Site:
        """Attention: one row a sequence if the target decodes, one sequence of `rows` rows otherwise."""
        c, s = self.config, self.step
        q = randn(self.rows, c.heads, c.head_dim, dtype=self.target.dtype)
        call = self.build("attention", scale=c.head_dim**-0.5)
        flow = (s.query_starts, s.lengths, s.pages)
        calls = [lambda k=k: call(q, *k, *flow) for k in self.caches()]
        read = 2 * c.kv_heads * c.head_dim * int(s.lengths.sum())
        pairs = self.rows * self.ctx if self.target.decode else self.rows * self.rows / 2
        return self.site("attention", calls, read * q.itemsize, 2 * q.numel(), 4 * pairs * c.heads * c.head_dim)

    def head(self) -> Site:
        """The projection to the vocabulary, one copy: it is larger than the cache by itself."""
        c = self.config
        weight = randn(c.vocab, c.width, dtype=self.target.dtype, scale=0.02)
        held = SCHEMES[self.packing](weight) if self.packing else weight
        call = self.build("lm_head", weight=held)
        rows = torch.arange(self.rows, device=DEVICE)
        acts, size = self.rows * (c.width + 2 * c.vocab), c.vocab * c.width
        return self.site("head", [lambda: call(self.x, rows)], held.nbytes, acts, 2 * size * self.rows)

    def norm(self) -> Site:
        """Add and norm by itself."""
        call = self.build("add_rms_norm", weight=randn(self.config.width, dtype=self.target.dtype), eps=1e-5)
        return self.site("add_rms_norm", [lambda: call(self.x, self.residual)] * self.copies, 0, 4 * self.x.numel(), 0)

    def argmax(self) -> Site:
        """The most likely token."""
        call = self.build("argmax")
        logits = randn(self.rows, self.config.vocab, dtype=torch.float32)
        return self.site("argmax", [lambda: call(logits)] * 4, 0, 2 * logits.numel(), 0)

    def sample(self, top_k: int = 0, top_p: float = 1.0) -> Site:
        """Sampling at temperature 0.6."""
        call = self.build("sample")
        n = self.rows
        logits = randn(n, self.config.vocab, dtype=torch.float32)
        real = lambda v: torch.full((n,), v, device=DEVICE)  # noqa: E731
        whole = torch.arange(n, device=DEVICE)
        flow = (logits, real(0.6), torch.full_like(whole, top_k), real(top_p), real(0.0), whole, whole)
        name = f"sample k={top_k} p={top_p}" if top_k or top_p < 1 else "sample"
        return self.site(name, [lambda: call(*flow)] * 4, 0, 2 * logits.numel(), 0)

    @property
    def step(self):  # type: ignore[no-untyped-def]
        """The batch: `rows` sequences of `ctx`, or one prompt."""
        if self.target.decode:
            return step(self.config, [1] * self.rows, [self.ctx] * self.rows)
        return step(self.config, [self.rows], [self.rows])

    def caches(self) -> list[tuple[Tensor, Tensor]]:
        """One pair a layer."""
        shape = (self.step.pages.numel(), self.config.kv_heads, PAGE, self.config.head_dim)
        return [
            (randn(*shape, dtype=self.target.dtype), randn(*shape, dtype=self.target.dtype)) for _ in range(self.copies)
        ]
