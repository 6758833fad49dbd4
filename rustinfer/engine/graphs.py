"""Decode steps as calls without arguments: all they read lies in `Lanes`, so that a CUDA graph can hold them whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ..graph import Graph, Pool
from ..models import Step
from .draw import Draw
from .lanes import Lanes

R = TypeVar("R")
Advance = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]


class Recorded(NamedTuple, Generic[R]):
    """A step without its draw, and the two ways to draw from what it returns."""

    forward: Graph[R]
    greedy: Graph[Tensor]
    random: Graph[Tensor]

    @classmethod
    def of(cls, forward: Callable[[], R], tell: Callable[[R, bool], Tensor], pool: Pool) -> Recorded[R]:
        """The graphs of `forward()`, and of `tell(its result, greedy)`, in one pool."""
        recorded = Graph(forward, pool)
        made = recorded()
        return cls(recorded, *(Graph(partial(tell, made, greedy), pool) for greedy in (True, False)))

    def tell(self, greedy: bool) -> Tensor:
        return self.greedy() if greedy else self.random()


class Decodes(Protocol):
    """A model, of which a decode step needs no more than this."""

    def decode(self, step: Step) -> Tensor:
        """Float32 logits [S, vocab] of a step with one row a sequence."""
        ...


class Decode:
    """One more token of every sequence in the first `rows` lanes: the model bound for that many, and the plain draw.

    Without graphs a step has exactly the lanes that are asked for; with them it always has `rows`, and
    lanes in no use are padding: length 0, slot -1. Graphs share the memory of their `pool`: warm up the largest first.
    """

    def __init__(
        self, model: Decodes, rows: int, lanes: Lanes, advance: Advance, draw: Draw, pool: Pool | None = None
    ) -> None:
        self.model, self.rows, self.pool = model, rows, pool
        self._lanes, self._advance, self._draw = lanes, advance, draw
        self._starts = torch.arange(rows + 1, dtype=torch.int32, device=lanes.device)
        self._graphs: Recorded[tuple[Tensor, Tensor]] | None = None
        self._several: Callable[..., None] | None = getattr(model, "decode_tokens", None)

    @property
    def ready(self) -> bool:
        """Whether it has its graphs, if there is a pool for them."""
        return self.pool is None or self._graphs is not None

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run once, no lane being in use; and record the graphs, if there is a pool for them."""
        self._lanes.rest()
        width = self._lanes.pages.shape[1]
        if self.pool is None:
            self._tell(*self._forward(1, 1), greedy=True)
            return
        self._graphs = Recorded.of(
            lambda: self._forward(self.rows, width), lambda made, greedy: self._tell(*made, greedy), self.pool
        )

    def forward(self, lanes: int, width: int) -> tuple[Tensor, Tensor]:
        """Logits [L, vocab] fp32, with L at least `lanes`, and what `tell` needs of the lanes.

        `width` pages hold the longest sequence.
        """
        return self._graphs.forward() if self._graphs else self._forward(lanes, width)

    @property
    def several(self) -> bool:
        """Whether `run` is more than `forward` and `tell` again and again."""
        return self._several is not None

    def run(self, lanes: int, width: int, told: Tensor, stop: Tensor) -> None:
        """Several tokens of the lanes, plainly and with nothing cut off, as the op `decode_tokens` has it."""
        state, flow = self._lanes, [t[:lanes] for t in self._lanes.draws]
        assert self._several
        self._several(*flow, state.pages[:lanes, :width], told, stop)

    def tell(self, logits: Tensor, drawing: Tensor, greedy: bool) -> Tensor:
        """Draw from what `forward` returned, plainly; the lanes' tokens, or -1 where a lane's logits are not finite."""
        return self._graphs.tell(greedy) if self._graphs else self._tell(logits, drawing, greedy)

    def _forward(self, rows: int, width: int) -> tuple[Tensor, Tensor]:
        state = self._lanes
        pages = state.pages[:rows, :width]
        positions, slots, lengths, drawing = self._advance(state.position[:rows], state.begin[:rows], pages)
        step = Step(state.drawn[:rows], positions, slots, self._starts[: rows + 1], lengths, pages)
        return self.model.decode(step), drawing

    def _tell(self, logits: Tensor, drawing: Tensor, greedy: bool) -> Tensor:
        state, rows = self._lanes, len(drawing)
        settings = None if greedy else tuple(setting[:rows] for setting in state.settings)
        tokens, told = self._draw(logits, settings, drawing)
        torch.where(state.position[:rows] >= 0, tokens, state.drawn[:rows], out=state.drawn[:rows])
        return told
