"""Conformance cases of the whole decoder stack, and wrong versions of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rustinfer.registry import Case

from .decode import decode_step
from .inputs import Draw
from .mutants import Arguments, wrong
from .rotary import table

VOCAB = 97


@dataclass(frozen=True)
class Stack:
    """A decoder's shape, and the lengths of the sequences after this step; a length of 0 is padding."""

    lengths: tuple[int, ...]
    width: int = 64
    hidden: int = 96
    heads: int = 4
    kv_heads: int = 2
    dim: int = 64
    layers: int = 2
    size: int = 16
    scale: float = 1.0
    bias: bool = False
    window: int = 0

    def __str__(self) -> str:
        lengths = " ".join(map(str, self.lengths)) or "none"
        shape = f"{self.layers} layers {self.width}-{self.hidden}, {self.heads}/{self.kv_heads} heads of {self.dim}"
        extras = [f"times {self.scale:g}"] * (self.scale != 1) + ["biases"] * self.bias + ["window"] * bool(self.window)
        return ", ".join((f"lengths {lengths}", shape, *extras))

    def weights(self, d: Draw) -> dict[str, Any]:
        mixed, every = self.heads * self.dim, (self.heads + 2 * self.kv_heads) * self.dim

        def layer() -> dict[str, Tensor | None]:
            return {
                "norm": d.uniform(self.width, low=0.5, high=1.5),
                "qkv": d.weight(every, self.width),
                "qkv_bias": d.normal(every) if self.bias else None,
                "out": d.weight(self.width, mixed),
                "out_bias": d.normal(self.width) if self.bias else None,
                "mlp_norm": d.uniform(self.width, low=0.5, high=1.5),
                "gate_up": d.weight(2 * self.hidden, self.width),
                "down": d.weight(self.width, self.hidden),
            }

        decoder = {
            "embedding": d.normal(VOCAB, self.width, scale=self.scale),
            "layers": [layer() for _ in range(self.layers)],
            "norm": d.uniform(self.width, low=0.5, high=1.5),
            "head": d.weight(VOCAB, self.width),
            "eps": 1e-5,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "window": self.window,
            **table(d, max(self.lengths, default=0) + 64, self.dim),
        }
        return {"decoder": decoder}

    def flow(self, d: Draw) -> tuple[Any, ...]:
        """Tokens, positions, slots, starts, lengths, pages and caches; sequences have scattered pages of their own."""
        rows, each = len(self.lengths), -(-max(self.lengths, default=1) // self.size) + 1
        pages = d.shuffled(rows * each, torch.int32).view(rows, each)
        lengths = torch.tensor(self.lengths, dtype=torch.int32, device=d.device)
        positions = (lengths.long() - 1).clamp(min=0)
        slots = pages.gather(1, positions[:, None] // self.size)[:, 0].long() * self.size + positions % self.size
        shape = (max(rows * each, 1), self.kv_heads, self.size, self.dim)
        caches = [(d.normal(*shape), d.normal(*shape)) for _ in range(self.layers)]
        starts = torch.arange(rows + 1, dtype=torch.int32, device=d.device)
        return d.integers(rows, below=VOCAB), positions, slots.where(lengths > 0, -1), starts, lengths, pages, caches


STACKS = (
    Stack((1,)),
    Stack((40,), 64, 96, 4, 1, 64, 2),
    Stack((300,), 576, 256, 9, 3, 64, 1),
    Stack((17, 1, 33), 96, 160, 4, 4, 128, 2),
    Stack((5, 64, 0, 130, 16, 2, 99, 65), 128, 64, 8, 2, 64, 3),
    Stack((700, 20), 160, 64, 3, 1, 128, 1),
    Stack((9, 12, 1, 3, 7, 7, 2, 30, 11), 32, 32, 2, 1, 64, 1),
    Stack((20,), 48, 33, 2, 1, 6, 2, size=7, bias=True),
    Stack((50, 9), window=20),
    Stack((), 64, 96),
    *(Stack((12, 40), 64, 96, scale=scale) for scale in (1e-3, 300.0)),
)


@decode_step.cases
def _(dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    for stack in STACKS:
        d = Draw(str(stack), dtype, device)
        yield Case(d.name, stack.flow(d), stack.weights(d), decode=bool(stack.lengths))


def bound(a: Arguments, **changes: Any) -> Arguments:
    """What is bound, with changes."""
    return {"decoder": {**a["decoder"], **changes}}


def changed(**names: str) -> Any:
    """Every layer with the weights of the named ones exchanged or changed."""

    def change(a: Arguments) -> Arguments:
        layers = [{**w, **{name: w[source] for name, source in names.items()}} for w in a["decoder"]["layers"]]
        return bound(a, layers=layers)

    return change


@wrong(decode_step, "gate and up exchanged")
def _(a: Arguments) -> Arguments:
    layers = a["decoder"]["layers"]
    return bound(a, layers=[{**w, "gate_up": torch.cat(w["gate_up"].chunk(2)[::-1])} for w in layers])


wrong(decode_step, "norms exchanged")(changed(norm="mlp_norm", mlp_norm="norm"))
wrong(decode_step, "newest position unseen")(lambda a: {"lengths": (a["lengths"] - 1).clamp(min=0)})
wrong(decode_step, "cache not written")(lambda a: {"slots": torch.full_like(a["slots"], -1)})
wrong(decode_step, "layers in reverse")(lambda a: bound(a, layers=a["decoder"]["layers"][::-1]))
wrong(decode_step, "eps dropped")(lambda a: bound(a, eps=0.0))
wrong(decode_step, "embedding in place of the head")(lambda a: bound(a, head=a["decoder"]["embedding"]))
wrong(decode_step, "positions one too high")(lambda a: {"positions": a["positions"] + 1})
wrong(decode_step, "first sequence's pages for all")(lambda a: {"pages": a["pages"][:1].expand_as(a["pages"])})
