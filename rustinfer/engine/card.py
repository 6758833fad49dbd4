"""What servers and `LLM` are told of a model."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..models.checkpoint import Checkpoint
from ..models.errors import CheckpointError
from ..protocol.messages import ModelCard, OpRow, Raised
from ..registry import Binding, Failure, PluginRecord
from ..text import ChatTemplate, TemplateError, TextError, Tokenizer
from .options import Options
from .sizing import Size

REASON = 500  # characters of a plugin's complaint
FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/'\"()]+/)*(?=[^\s/'\"()])")


def model_card(
    checkpoint: Checkpoint,
    options: Options,
    size: Size,
    bindings: Sequence[Binding],
    failed: Sequence[PluginRecord] = (),
) -> ModelCard:
    """The card of a running model, and of the plugins that it has to do without."""
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
        sequences=options.sequences,
        created=int(time.time()),
        root=checkpoint.root,
        ops=op_rows(bindings),
        defaults=dict(checkpoint.defaults),
        width=checkpoint.config.width,
        device=device_name(options.device),
        queue=options.max_num_queued_reqs,
        failed_plugins={record.name: reason(record.error) for record in failed},
    )


def reason(error: str) -> str:
    """A complaint as it travels: its first line, without the folders of the files that it names."""
    return FOLDERS.sub("", error.partition("\n")[0])[:REASON]


def device_name(device: str) -> str:
    """What people call it: `cpu`, or the GPU's own name."""
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


class Choice(NamedTuple):
    """What was bound somewhere; `nth` tells apart what a site binds twice."""

    site: str
    op: str
    kernel: str
    rejected: tuple[tuple[str, str], ...]
    decode: bool
    nth: int


def op_rows(bindings: Sequence[Binding]) -> list[OpRow]:
    """Bindings as they travel. The wirings for decoding have sites of their own, told apart where they differ."""
    rows: dict[Choice, list[int]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for b in bindings:
        place = b.site, b.op.name, b.target.decode and b.target.rows
        seen[place] += 1
        decode = b.target.decode and b.site not in ("sampler", "draw")
        choice = Choice(b.site, b.op.name, b.backend, b.rejected, decode, seen[place])
        rows.setdefault(choice, []).append(b.target.rows or 0)
    several = len({count for choice, counts in rows.items() if choice.decode for count in counts}) > 1
    return [
        OpRow(f"{c.site}{_wiring(counts, several) if c.decode else ''}", c.op, c.kernel, dict(c.rejected))
        for c, counts in rows.items()
    ]


def raised_rows(failures: Sequence[Failure]) -> list[Raised]:
    """Kernels that have raised, as they travel: what they said stays in the log, for it may name files."""
    return [Raised(f.op, f.backend, f.count, f.why() if f.disabled else "") for f in failures]


def _wiring(counts: list[int], several: bool) -> str:
    return f" (decode, {min(counts)} to {max(counts)} rows)" if several else " (decode)"


def text_side(checkpoint: Checkpoint) -> tuple[Tokenizer | None, ChatTemplate]:
    """The tokenizer (None for a model of random weights) and the chat template.

    Raises CheckpointError where either cannot be read.
    """
    try:
        tokenizer = Tokenizer(checkpoint.tokenizer_json) if checkpoint.tokenizer_json else None
        return tokenizer, ChatTemplate(checkpoint.template.source, **checkpoint.template.special_tokens)
    except (TextError, TemplateError) as error:
        raise CheckpointError(f"{checkpoint.root}: {error}") from None
