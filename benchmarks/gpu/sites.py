"""Single ops of one model shape at one row count, over as many distinct weights as the model has layers.

A graph of all layers' calls of one op reads more than the L2 cache holds, so its time divided by the layers is what the
op costs inside a step, its launch included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from rustinfer.cli.ops_workload import WORKLOADS, Maker, Workload
from rustinfer.models.config import ModelConfig
from rustinfer.registry import Binder, Registry, Target

from .world import DEVICE

Call = Callable[[], object]


@dataclass(frozen=True)
class Site:
    """An op's calls (one a layer), and the bytes that one call must move and the operations it must do."""

    name: str
    calls: list[Call]
    nbytes: float
    flops: float


class Bench:
    """Makes the sites of a configuration for a target."""

    def __init__(
        self, config: ModelConfig, found: Registry, target: Target, *, rows: int, ctx: int,
        copies: int | None = None, packing: str = "",
    ) -> None:  # fmt: skip
        self.config, self.found, self.target, self.rows, self.ctx = config, found, target, rows, ctx
        self.copies, self.maker = copies or config.layers, Maker(target.dtype, DEVICE, packing or None)

    def build(self, op: str, backend: str | None = None, **bound: object) -> Callable[..., object]:
        """The named back end's kernel, which raises LookupError where it refuses; without a name, a model's."""
        if backend is None:
            return Binder(self.found, self.target).bind(self.found.ops[op], **bound)
        kernel, full = self.found.backends[backend].kernels[op], self.found.ops[op].complete(bound)
        if refusal := kernel.refusal(self.target, full):
            raise LookupError(f"{op}: {refusal}")
        return kernel.build(self.target, **full)

    def made(self, op: str, copies: int | None = None, **sizes: int) -> list[Workload]:
        """The same call of other tensors for each layer, or so many of them."""
        rows = {} if "rows" in sizes else {"rows": self.rows}
        return [WORKLOADS[op](self.maker, **rows, **sizes) for _ in range(copies or self.copies)]

    def site(self, name: str, op: str, works: list[Workload], backend: str | None = None) -> Site:
        """The calls, bound."""
        calls: list[Call] = [partial(self.build(op, backend, **w.bound), *w.flow) for w in works]
        return Site(name, calls, works[0].nbytes, works[0].flops)

    def linear(self, name: str, outputs: int, columns: int, backend: str | None = None) -> Site:
        """A plain projection."""
        return self.site(name, "linear", self.made("linear", columns=columns, outputs=outputs), backend)

    def gate_up(self) -> Site:
        """Gate, up and SiLU; for one row, with the norm in front."""
        op = "norm_gate_up_silu" if self.rows == 1 else "gate_up_silu"
        return self.site("gate_up", op, self.made(op, columns=self.config.width, hidden=self.config.hidden))

    def qkv(self) -> Site:
        """Projection, rotation, cache write; for one row, with the norm in front."""
        c, op = self.config, "norm_qkv_rope_write" if self.rows == 1 else "qkv_rope_write"
        sizes = {"columns": c.width, "heads": c.heads, "kv_heads": c.kv_heads, "dim": c.head_dim}
        return self.site("qkv", op, self.made(op, **sizes))

    def attention(self) -> Site:
        """Attention: one row a sequence if the target decodes, one sequence of `rows` rows otherwise."""
        c, decodes = self.config, self.target.decode
        batch = {"sequences": self.rows, "rows": 1, "context": self.ctx} if decodes else {"context": self.rows}
        sizes = {"heads": c.heads, "kv_heads": c.kv_heads, "dim": c.head_dim}
        return self.site("attention", "attention", self.made("attention", **batch, **sizes))

    def head(self) -> Site:
        """The projection to the vocabulary, one copy: it is larger than the cache by itself."""
        c = self.config
        return self.site("head", "lm_head", self.made("lm_head", 1, columns=c.width, outputs=c.vocab))

    def norm(self) -> Site:
        """Add and norm by itself."""
        return self.site("add_rms_norm", "add_rms_norm", self.made("add_rms_norm", columns=self.config.width))

    def argmax(self) -> Site:
        """The most likely token."""
        return self.site("argmax", "argmax", self.made("argmax", 4, vocab=self.config.vocab))

    def sample(self, top_k: int = 0, top_p: float = 1.0) -> Site:
        """Sampling at temperature 0.6."""
        name = f"sample k={top_k} p={top_p}" if top_k or top_p < 1 else "sample"
        works = self.made("sample", 4, vocab=self.config.vocab)
        return self.site(name, "sample", [limited(work, top_k, top_p) for work in works])


def limited(work: Workload, top_k: int, top_p: float) -> Workload:
    """Sampling within these limits."""
    logits, temperature, most, share, *rest = work.flow
    return replace(work, flow=(logits, temperature, torch.full_like(most, top_k), torch.full_like(share, top_p), *rest))
