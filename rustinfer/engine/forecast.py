"""What a model will take of this machine and may give: worked out from its files' headers, and one layer run once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch

from ..models import Parameters
from ..models.checkpoint import Checkpoint
from ..models.quantise import packed_bytes
from ..models.shapes import weight_shapes
from ..registry import Binding, Plugins, Policy, Target
from ..roofline import Roof, bandwidth
from .binders import Binders
from .build import builder_of, on_device, packed
from .headroom import GRAPHS, least_bytes, require_room, stored_bytes
from .machine import free_memory
from .options import Options
from .sizing import Size, choose_size
from .storage import WARM_TOKENS, allocate, bytes_per_token, idle, warm_up


@dataclass(frozen=True)
class Forecast:
    """Sizes are in bytes. The roof is that of memory alone. `weights` are those that each token reads.

    `scratch` is what the kernels' workspace takes, which all layers share.
    """

    weights: int
    stored: int
    token: int
    free: int
    size: Size
    page: int
    sequences: int
    scratch: int
    roof: Roof
    bindings: tuple[Binding, ...]

    @property
    def cache(self) -> int:
        """Bytes of the key-value cache."""
        return self.size.pages * self.page * self.token

    @property
    def concurrency(self) -> float:
        """How many sequences of the whole context the cache holds."""
        return self.size.pages * self.page / self.size.context

    def bound(self, sequences: int, context: int) -> float:
        """Tokens a second at most: each step reads the weights once, and the cache of every sequence."""
        return sequences / self.roof.floor(self.weights + sequences * context * self.token, 0)


def forecast(checkpoint: Checkpoint, options: Options, plugins: Plugins) -> Forecast:
    """Nothing is fetched, and of the weights only what one layer needs is read. Raises UserError like `build`."""
    options = on_device(options)
    builder = builder_of(checkpoint.config.architecture, plugins)
    target = replace(Target.of(options.device, checkpoint.dtype), invariant=options.deterministic)
    require_room(checkpoint, options)
    stored = stored_bytes(checkpoint) if options.quantization is None else least_bytes(checkpoint, options.quantization)
    token = bytes_per_token(builder.cache_spec(checkpoint.config), target.dtype)
    free = free_bytes(options, stored)
    size = choose_size(options, checkpoint.config.context, token, free)
    config = replace(checkpoint.config, layers=1, context=min(size.context, 4096))
    cache = allocate(builder.cache_spec(config), 1, options.block_size, target)
    bind = Binders(plugins, Policy(options.prefer, options.pins or {}, options.strict))
    parameters = Parameters(packed(checkpoint, options).weights)
    prompts = builder(config, bind(target), parameters, cache)
    decoding = builder(config, bind(target.decoding(options.sequences)), parameters, cache)
    warm_up(prompts, target.device, min(WARM_TOKENS, config.context))
    with torch.inference_mode():
        decoding.decode(idle(target.device, 1, options.sequences))
    return Forecast(
        weights=stored - unread_bytes(checkpoint, stored, options.quantization),
        stored=stored,
        token=token,
        free=free,
        size=size,
        page=options.block_size,
        sequences=options.sequences,
        scratch=target.workspace.nbytes,
        roof=Roof(bandwidth(target.device)),
        bindings=bind.bindings,
    )


def unread_bytes(checkpoint: Checkpoint, stored: int, quantization: str | None) -> int:
    """Of an embedding that is not the projection too, a token reads one row: as good as nothing."""
    if checkpoint.config.tied:
        return 0
    shapes, name = weight_shapes(checkpoint.config), "model.embed_tokens.weight"
    if quantization is not None:
        return packed_bytes({name: shapes[name]}, quantization, checkpoint.dtype.itemsize)
    return stored * prod(shapes[name]) // sum(map(prod, shapes.values()))


def free_bytes(options: Options, stored: int) -> int:
    """What the cache may take, once the weights are there."""
    if options.device != "cuda":
        return max(free_memory() - stored, 0)
    free, total = torch.cuda.mem_get_info()
    return max(int(total * options.gpu_memory_utilization) - (total - free) - stored - GRAPHS, 0)
