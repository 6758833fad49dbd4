"""Steps with prompts in them: any rows of any sequences, in graphs where there are few."""

from __future__ import annotations

import torch
from torch import Tensor

from ..graph import Pool
from ..models import Model
from .batch import Batch, Batcher, Shape
from .draw import Draw
from .graphs import Recorded
from .plan import Plan

TOKENS = (128, 256, 384, 512, 768, 1024, 1536, 2048)
"""Rows of the steps that have graphs, and which padding may fill: less of the device's time than launching takes."""
WHOLE = (4096, 8192)
"""Rows of those that are for steps of few sequences, and nearly of that size, as the chunks of a long prompt are."""
SPARED = 8
"""Of WHOLE, padding may be one row in so many."""
SHORT = 4
"""Where there are so many rows a sequence, the last layer is spared all but the last one of each."""
LONG = 512
"""Rows from which on that is done in graphs, too. Guesses, whose every row is looked at, have fewer."""
FEW = 8
GRAIN = 16
"""What a GPU's kernels call a round number."""


class Mixed:
    """The model bound for any step, run on what the batcher has sent.

    Graphs are made for some shapes; those pad. Other steps are padded to multiples of `grain` rows and pages: a kernel
    that is compiled for round numbers then does for all, and none is compiled while requests wait. Sequences are padded
    to `crowds`, which `touch` has run: a library loads kernels for every new number of rows, 8 ms in such a step.
    """

    def __init__(self, model: Model, batcher: Batcher, draw: Draw, grain: int = 1) -> None:
        self.model, self.batcher, self.plainly, self._grain = model, batcher, draw, grain
        self._graphs: dict[Shape, Recorded[Tensor]] = {}  # the smallest first

    @torch.inference_mode()
    def record(self, shape: Shape, pool: Pool) -> None:
        """Make the graphs of a shape, out of padding alone, no lane being in use."""
        self.batcher.lanes.rest()
        self.batcher.fill(Plan(), shape, inside=True)
        width = self.batcher.lanes.pages.shape[1]
        made = Recorded.of(
            lambda: self._taken(shape, width), lambda hidden, greedy: self._tell(hidden, shape, greedy), pool
        )
        self._graphs = dict(sorted({**self._graphs, shape: made}.items()))

    @torch.inference_mode()
    def touch(self, sequences: int) -> None:
        """Run a step of so many sequences out of padding alone, no lane being in use."""
        self.batcher.lanes.rest()
        shape = Shape(sequences * SHORT, sequences, True)
        self.batcher.fill(Plan(), shape)
        self._tell(self._forward(shape, self._grain), shape, greedy=True)

    def shape(self, plan: Plan) -> Shape:
        """The smallest shape with a graph that this plan fits into, or else its own, rounded up."""
        tokens, sequences, every = plan.tokens, len(plan), plan.every
        for s in self._graphs:
            if s.tokens >= tokens and s.sequences > sequences and not (every and s.last) and pays(s, tokens):
                return s
        rows, padded = self._round(tokens), sequences
        if self._grain > 1:
            padded = next(crowd for crowd in crowds(self.batcher.lanes.nobody) if crowd > sequences)
        return Shape(rows, padded, not every and padded * SHORT <= rows)

    def fill(self, plan: Plan, shape: Shape) -> Batch:
        """Send a plan as a step of this shape, or leave it for the shape's graph to take."""
        return self.batcher.fill(plan, shape, shape in self._graphs)

    def forward(self, shape: Shape, plan: Plan) -> Tensor:
        """Hidden states of the plan's rows, or of the last ones, with its shape and once it has been sent."""
        if recorded := self._graphs.get(shape):
            return recorded.forward()
        width = max(len(sequence.pages) for sequence in plan.sequences())
        with torch.inference_mode():
            return self._forward(shape, min(self._round(width), self.batcher.lanes.pages.shape[1]))

    def _round(self, count: int) -> int:
        return -(-count // self._grain) * self._grain

    def tell(self, hidden: Tensor, shape: Shape, greedy: bool) -> Tensor:
        """Draw plainly for the sequences that sample: their tokens, or -1 where logits are not finite; then padding."""
        if shape in self._graphs:
            return self._graphs[shape].tell(greedy)
        return self._tell(hidden, shape, greedy)

    def logits(self, hidden: Tensor, shape: Shape, count: int) -> Tensor:
        """Logits of the `count` sequences that sample."""
        return self.model.logits(hidden, self.batcher.sampling(shape).picks[:count])

    def _taken(self, shape: Shape, width: int) -> Tensor:
        self.batcher.take(shape)
        return self._forward(shape, width)

    def _forward(self, shape: Shape, width: int) -> Tensor:
        step = self.batcher.step(shape, width)
        hidden = self.model.forward(step)
        # A model need not spare itself the other rows.
        return hidden if step.last is None or len(hidden) == shape.sequences else hidden[step.last]

    def _tell(self, hidden: Tensor, shape: Shape, greedy: bool) -> Tensor:
        lanes, sampling = self.batcher.lanes, self.batcher.sampling(shape)
        settings = None
        if not greedy:
            owners = sampling.lanes.clamp(max=lanes.nobody - 1)
            settings = tuple(setting[owners] for setting in lanes.settings)
        tokens, told = self.plainly(self.model.logits(hidden, sampling.picks), settings, sampling.drawing)
        lanes.drawn.index_copy_(0, sampling.lanes, tokens)
        return told


def crowds(sequences: int) -> list[int]:
    """Numbers of sequences, one of padding included, that steps without graphs are padded to."""
    most = sequences // GRAIN * GRAIN + GRAIN
    return [*(size for size in (GRAIN << i for i in range(most.bit_length())) if size < most), most]


def pays(shape: Shape, tokens: int) -> bool:
    """Whether a graph of this shape is worth its padding."""
    return shape.tokens <= TOKENS[-1] or (shape.tokens - tokens) * SPARED <= shape.tokens


def shapes(tokens: int, sequences: int, context: int) -> list[Shape]:
    """The shapes that get graphs, largest first: for few sequences and for as many as there may be."""
    made = {
        Shape(rows, padded := most // GRAIN * GRAIN + GRAIN, rows >= LONG and padded * SHORT <= rows)
        for rows in (*TOKENS, *WHOLE)
        if rows <= min(tokens, context)
        for most in ((FEW,) if rows in WHOLE else (FEW, min(rows, sequences)))
    }
    return sorted(made, reverse=True)
