"""What servers and `LLM` are told of a model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ..models.checkpoint import Checkpoint
from ..protocol.messages import ModelCard, OpRow
from ..registry import Binding
from ..text import ChatTemplate, Tokenizer
from .options import Options
from .sizing import Size


def model_card(checkpoint: Checkpoint, options: Options, size: Size, bindings: Sequence[Binding]) -> ModelCard:
    """The card of a running model."""
    source = checkpoint.template.source
    return ModelCard(
        id=options.served_model_name or checkpoint.name,
        context=size.context,
        vocab_size=checkpoint.config.vocab,
        eos_ids=list(checkpoint.eos_ids),
        tokenizer_json=checkpoint.tokenizer_json or "",
        chat_template=dict(source) if isinstance(source, Mapping) else source,
        special_tokens=dict(checkpoint.template.special_tokens),
        dtype=str(checkpoint.dtype).removeprefix("torch."),
        page_size=options.block_size,
        created=int(time.time()),
        root=checkpoint.root,
        ops=[op_row(binding) for binding in bindings],
        defaults=dict(checkpoint.defaults),
    )


def op_row(binding: Binding) -> OpRow:
    """A binding as it travels. The wiring for decoding has sites of its own."""
    site = f"{binding.site} (decode)" if binding.target.decode and binding.site != "sampler" else binding.site
    return OpRow(site, binding.op.name, binding.backend, dict(binding.rejected))


def text_side(checkpoint: Checkpoint) -> tuple[Tokenizer | None, ChatTemplate]:
    """The tokenizer (None for a model of random weights) and the chat template."""
    tokenizer = Tokenizer(checkpoint.tokenizer_json) if checkpoint.tokenizer_json else None
    return tokenizer, ChatTemplate(checkpoint.template.source, **checkpoint.template.special_tokens)
