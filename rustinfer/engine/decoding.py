"""The model bound for decoding: once on a CPU, and on a GPU once for each number of lanes that has a graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models import Model, Parameters, Step
from ..models.config import ModelConfig
from ..models.model import Cache, ModelBuilder
from ..registry import Binder, Binding, Target
from .draw import Draw
from .graphs import Decode
from .lanes import Lanes
from .options import Options

log = logging.getLogger(__name__)


def decodes(
    builder: ModelBuilder,
    config: ModelConfig,
    parameters: Parameters,
    cache: Cache,
    target: Target,
    options: Options,
    bind: Callable[[Target], Binder],
    lanes: Lanes,
    draw: Draw,
) -> list[Decode]:
    """Decode steps, fewest lanes first, to be warmed up. One that no graph can hold stays eager, and is named."""
    gpu = target.device.type == "cuda"
    graphed = gpu and not options.enforce_eager and can_capture(draw.bindings)
    pool = target.workspace.pool if graphed else None
    made = []
    for rows in bucket_sizes(options.sequences) if gpu else [options.sequences]:
        # Where every row must come out alike, decoding takes the kernels that prompts take.
        binder = bind(target if target.invariant else target.decoding(rows))
        binder.site = "place"
        advance = binder.advance(page_size=lanes.page_size)
        model = builder(config, binder, parameters, cache)
        decoder = model if binder.target.decode else Composed(model, rows, target.device)
        graphs = pool if pool and can_capture(binder.bindings) else None
        made.append(Decode(decoder, rows, lanes, advance, draw, graphs))
    return made


class Composed:
    """Decodes with a model that is bound for any step: by the kernels that prompts take."""

    def __init__(self, model: Model, rows: int, device: torch.device) -> None:
        self._model, self._all = model, torch.arange(rows, device=device)

    def decode(self, step: Step) -> Tensor:
        """As `Model.decode`."""
        return self._model.logits(self._model.forward(step), self._all[: len(step.tokens)])


def can_capture(bindings: Sequence[Binding]) -> bool:
    """Whether a graph can hold all of these. Names the first that it cannot."""
    bad = next((binding for binding in bindings if not binding.capturable), None)
    if bad:
        log.warning("%s cannot be captured: steps for %s run without a graph", bad.why(), bad.target)
    return bad is None


def bucket_sizes(most: int) -> list[int]:
    """How many lanes the graphs have: fine steps where a step's time grows with every row."""
    sizes = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, *range(320, most + 64, 64)]
    return [*(size for size in sizes if size < most), most]
