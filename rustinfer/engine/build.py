"""From a model reference to an engine that is ready to run: open, size, bind, warm up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import torch

from ..models import Model, Parameters
from ..models.checkpoint import Checkpoint
from ..models.config import ModelConfig
from ..models.model import Cache, ModelBuilder
from ..models.sources import open_checkpoint
from ..protocol.messages import ModelCard
from ..registry import Binder, Binding, Plugins, Policy, Target, load_plugins
from ..text import ChatTemplate, Tokenizer
from .admission import Admission
from .batch import Batcher
from .card import model_card, text_side
from .engine import Engine
from .errors import UnknownArchitecture
from .grammar import Grammars
from .kvcache import KVCache
from .machine import free_memory, physical_cores
from .options import Options
from .phases import Phases
from .runner import Runner, Wiring
from .sampler import Sampler
from .scheduler import Limits
from .sizing import Size, choose_size
from .storage import allocate, bytes_per_token, warm_up


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


def load(model: str, options: Options, plugins: Plugins | None = None) -> Loaded:
    """Open the reference and build an engine for it. Raises UserError for whatever the user can mend."""
    phases = Phases()
    torch.set_num_threads(options.threads or physical_cores())
    with phases.phase("plugins"):
        plugins = plugins or load_plugins()
    with phases.phase("open"):
        dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype)
        device = torch.device(options.device)
        checkpoint = open_checkpoint(model, load_format=options.load_format, dtype=dtype, device=device)
    return build(checkpoint, options, plugins, phases)


def build(checkpoint: Checkpoint, options: Options, plugins: Plugins, phases: Phases | None = None) -> Loaded:
    """An engine over an open checkpoint. Raises UnknownArchitecture, NoKernelError, and UserError for bad sizes."""
    phases = phases or Phases()
    builder = builder_of(checkpoint.config.architecture, plugins)
    target = Target.of(options.device, checkpoint.dtype)
    spec = builder.cache_spec(checkpoint.config)
    size = choose_size(options, checkpoint.config.context, bytes_per_token(spec, target.dtype), free_memory())
    cache = allocate(spec, size.pages, options.block_size, target)
    bind = Binders(plugins, Policy(options.prefer, options.pins, options.strict))
    with phases.phase("bind"):
        config = replace(checkpoint.config, context=size.context)
        wirings = wire(
            builder,
            config,
            Parameters(phases.timed("weights", checkpoint.weights)),
            cache,
            target,
            options.max_num_seqs,
            bind,
        )
        scores = Target.of(options.device, torch.float32).decoding(options.max_num_seqs)
        sampler = Sampler(bind(scores), checkpoint.config.vocab)
    with phases.phase("warm-up"):
        warm_up(wirings, target.device, options.max_num_batched_tokens)
    table = -(-size.context // options.block_size)
    batcher = Batcher(options.max_num_batched_tokens, options.max_num_seqs, table, options.block_size, target.device)
    depth = 0 if target.device.type == "cpu" else 1
    engine = assemble(Runner(wirings, cache, batcher, sampler, depth), checkpoint, options, size)
    card = model_card(checkpoint, options, size, bind.bindings)
    tokenizer, template = text_side(checkpoint)
    if tokenizer and checkpoint.eos_ids:
        engine.grammars = Grammars.of(tokenizer, checkpoint.config.vocab, checkpoint.eos_ids)
    return Loaded(engine, card, tokenizer, template, bind.bindings, plugins.registry.fingerprint(), phases)


def builder_of(architecture: str, plugins: Plugins) -> ModelBuilder:
    """The builder that a plugin brought for this architecture."""
    models = plugins.registry.models
    if architecture not in models:
        raise UnknownArchitecture(architecture, models)
    return cast("ModelBuilder", models[architecture])


class Binders:
    """Makes binders of one policy, and knows what all of them bound."""

    def __init__(self, plugins: Plugins, policy: Policy) -> None:
        self.plugins, self.policy = plugins, policy
        self.made: list[Binder] = []

    def __call__(self, target: Target) -> Binder:
        self.made.append(Binder(self.plugins.registry, target, self.policy, self.plugins.wrap))
        return self.made[-1]

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Every binding so far."""
        return tuple(binding for binder in self.made for binding in binder.bindings)


def wire(
    builder: ModelBuilder,
    config: ModelConfig,
    parameters: Parameters,
    cache: Cache,
    target: Target,
    rows: int,
    bind: Callable[[Target], Binder],
) -> list[Wiring]:
    """The model bound twice over the same weights and cache: for decoding alone, and for any step."""
    decode: Model = builder(config, bind(target.decoding(rows)), parameters, cache)
    mixed: Model = builder(config, bind(target), parameters, cache)
    return [Wiring(decode, rows), Wiring(mixed)]


def assemble(runner: Runner, checkpoint: Checkpoint, options: Options, size: Size) -> Engine:
    """The engine's pure part around a runner."""
    eos_ids = tuple(checkpoint.eos_ids)
    capacity = size.pages * options.block_size
    admission = Admission(checkpoint.config.vocab, size.context, capacity, eos_ids, options.max_num_queued_reqs)
    limits = Limits(options.max_num_seqs, options.max_num_batched_tokens)
    cache = KVCache(size.pages, options.block_size, options.enable_prefix_caching)
    return Engine(runner, cache, limits, admission, seed=options.seed)
