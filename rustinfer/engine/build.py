"""From a model reference to an engine that is ready to run: open, size, bind, warm up."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import cast

import torch

from ..errors import UserError
from ..models import Parameters
from ..models.checkpoint import Checkpoint
from ..models.errors import CheckpointError
from ..models.model import ModelBuilder
from ..models.quantise import Quantised
from ..models.sources import open_checkpoint
from ..protocol.messages import ModelCard
from ..registry import Binding, Faults, Guard, Plugins, Policy, Target, Workspace, load_plugins
from ..text import ChatTemplate, Tokenizer
from .admission import Admission
from .ahead import collector_at_rest
from .batch import Batcher, items
from .binders import Binders
from .card import model_card, text_side
from .chores import ends, recording, spelling
from .decoding import can_capture, decodes
from .draw import Draw
from .engine import Chore, Engine
from .errors import UnknownArchitecture
from .grammar import Grammars
from .headroom import cache_bytes, require_room
from .kvcache import KVCache
from .lanes import Lanes
from .machine import physical_cores
from .mixed import GRAIN, Mixed
from .options import Options
from .phases import Phases
from .runner import Runner
from .sampler import Sampler
from .scheduler import Limits
from .sizing import Size, choose_size
from .speculation import Speculation
from .storage import WARM_TOKENS, allocate, bytes_per_token, warm_up

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """An engine with all that speaks for it: the card for servers, the text side for `LLM`, and what was bound."""

    engine: Engine
    card: ModelCard
    tokenizer: Tokenizer | None
    template: ChatTemplate
    bindings: tuple[Binding, ...]
    fingerprint: str
    phases: Phases
    workspace: Workspace
    guard: Guard


SEVERAL, LONGER = 4, 8
"""Tokens of a launch; and of one or two sequences. Two may be under way: a newcomer waits for what is on its way of the
first, and one token of the second, the device being told."""


@collector_at_rest()
def load(model: str, options: Options, plugins: Plugins | None = None, *, chores: bool = True) -> Loaded:
    """Open the reference and build an engine for it. Raises UserError for whatever the user can mend.

    Without `chores` those are left to whoever runs the engine, for when it has nothing else to do.
    """
    phases = Phases()
    torch.set_num_threads(options.threads or physical_cores())
    options = on_device(options)
    with phases.phase("plugins"):
        plugins = plugins or load_plugins()
    with phases.phase("open"):
        dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype)
        device = torch.device(options.device)
        checkpoint = open_checkpoint(model, load_format=options.load_format, dtype=dtype, device=device)
    loaded = build(packed(checkpoint, options), options, plugins, phases)
    while chores and loaded.engine.do_chore():
        pass
    if not chores and loaded.engine.compiling.grammars is not None and loaded.tokenizer:
        loaded.engine.chores.extend(spelling(loaded.tokenizer, loaded.engine.admission.vocab))
    # What was made while loading stays: the collector need not look at it again and again, for 50 ms each time. Of an
    # engine's own process it need not even once, for 0.2 s: there is 1 MB of garbage. Others' may hold more.
    if chores:
        gc.collect()
    gc.freeze()
    return loaded


def packed(checkpoint: Checkpoint, options: Options) -> Checkpoint:
    """With its weights as `--quantization` packs them, when they are looked up."""
    if options.quantization is None:
        return checkpoint
    return replace(checkpoint, weights=Quantised(checkpoint.weights, options.quantization))


def on_device(options: Options) -> Options:
    """The options with a device that is here instead of "auto". Raises UserError for a GPU that is not."""
    there = torch.cuda.is_available()
    if options.device == "cuda" and not there:
        raise UserError("--device cuda: torch finds no GPU here; use --device cpu, or a torch built for this GPU")
    return replace(options, device="cuda" if there else "cpu") if options.device == "auto" else options


def build(checkpoint: Checkpoint, options: Options, plugins: Plugins, phases: Phases | None = None) -> Loaded:
    """An engine over an open checkpoint. Raises UnknownArchitecture, NoKernelError, and UserError for sizes."""
    phases, options = phases or Phases(), on_device(options)
    builder = builder_of(checkpoint.config.architecture, plugins)
    require_room(checkpoint, options)
    target = replace(Target.of(options.device, checkpoint.dtype), invariant=options.deterministic)
    spec = builder.cache_spec(checkpoint.config)
    bind = Binders(plugins, Policy(options.prefer, options.pins or {}, options.strict))
    parameters = Parameters(phases.timed("weights", checkpoint.weights))
    with phases.phase("profile"):
        free = cache_bytes(checkpoint.config, builder, parameters, target, options, bind.probe)
    size = choose_size(options, checkpoint.config.context, bytes_per_token(spec, target.dtype), free)
    cache = allocate(spec, size.pages, options.block_size, target)
    config = replace(checkpoint.config, context=size.context)
    with phases.phase("bind"):
        model = builder(config, bind(target), parameters, cache)
        scores = bind(replace(target, dtype=torch.float32).decoding(options.sequences))
        sampler, draw = Sampler(scores, checkpoint.config.vocab), Draw(scores)
        pages, batch = -(-size.context // options.block_size), items(options.tokens, options.sequences)
        lanes = Lanes(options.sequences, pages, options.block_size, target.device, batch)
        grain = 1 if target.device.type == "cpu" else GRAIN
        (ops := bind(target)).site = "place"
        mixed = Mixed(model, Batcher(lanes, ops.place_rows(page_size=options.block_size)), draw, grain)
        steps = decodes(builder, config, parameters, cache, target, options, bind, lanes, draw)
    require_read(checkpoint, parameters.unread)
    for order in bind.idle_orders():
        log.warning("%s: nothing in this model comes of it; `rustinfer ops why` says what runs where, and why", order)
    with phases.phase("warm-up"):
        warm_up(model, target.device, min(options.tokens, WARM_TOKENS))
        sampler.warm_up()
        decoding: list[Chore] = [step.warm_up for step in steps]
        prompts = []
        if (pool := steps[-1].pool) and can_capture([b for b in bind.bindings if not b.target.decode]):
            prompts = recording(mixed, pool, options, size.context)
        for chore in ends(prompts) + ends(decoding):
            chore()
    faults = Faults(bind.bindings, plugins.registry)
    runner = Runner(mixed, steps, cache, lanes, sampler, int(target.device.type != "cpu"), faults)
    # Fewer sequences take the smallest step that holds them: without a gap up to here.
    few = max((step.rows for step in takewhile(lambda step: step.several, steps)), default=0)
    engine = assemble(runner, checkpoint, options, size, few)
    engine.chores.extend(prompts[1:-1] + decoding[1:-1])
    card = model_card(checkpoint, options, size, bind.bindings, plugins.failures())
    tokenizer, template = text_side(checkpoint)
    if tokenizer and checkpoint.eos_ids:
        engine.compiling.grammars = Grammars.of(tokenizer, checkpoint.config.vocab, checkpoint.eos_ids)
    fingerprint, space = plugins.registry.fingerprint(), target.workspace
    return Loaded(engine, card, tokenizer, template, bind.bindings, fingerprint, phases, space, bind.guard)


def require_read(checkpoint: Checkpoint, unread: Sequence[str]) -> None:
    """Raise CheckpointError for tensors that the model has not asked for: it is another one than its file says."""
    if unread:
        raise CheckpointError(
            f"{checkpoint.root}: tensor {unread[0]} is no part of a {checkpoint.config.architecture} of this "
            f"configuration{f', nor are {len(unread) - 1} others' if unread[1:] else ''}"
        )


def builder_of(architecture: str, plugins: Plugins) -> ModelBuilder:
    """The builder that a plugin brought for this architecture."""
    models = plugins.registry.models
    if architecture not in models:
        raise UnknownArchitecture(architecture, models)
    return cast("ModelBuilder", models[architecture])


def assemble(runner: Runner, checkpoint: Checkpoint, options: Options, size: Size, few: int) -> Engine:
    """The engine's pure part around a runner, which may decode several tokens at once of `few` sequences."""
    eos_ids = tuple(checkpoint.eos_ids)
    capacity = size.pages * options.block_size
    admission = Admission(checkpoint.config.vocab, size.context, capacity, eos_ids, options.max_num_queued_reqs)
    limits = Limits(options.sequences, options.tokens, several=SEVERAL, longer=LONGER, few=few)
    cache = KVCache(size.pages, options.block_size, options.enable_prefix_caching)
    speculation = Speculation.of(options.speculative_config)
    return Engine(runner, cache, limits, admission, seed=options.seed, speculation=speculation)
