"""A checkpoint in one GGUF file."""

from __future__ import annotations

from pathlib import Path

import torch

from .checked import CheckedWeights
from .checkpoint import ChatTemplateSource, Checkpoint, choose_dtype
from .config import ModelConfig
from .errors import CheckpointError
from .gguf import GgufFile
from .gguf_blocks import DENSE
from .gguf_config import config_from
from .gguf_vocabulary import special_tokens, tokenizer_from
from .gguf_weights import GgufWeights


def open_gguf(path: Path, name: str, dtype: torch.dtype | str, device: torch.device) -> Checkpoint:
    """Open a `.gguf` file. Raises CheckpointError for one that is corrupt, split or of an unknown kind."""
    file = GgufFile(path)
    if file.metadata.get("split.count", 0) not in (0, 1):
        raise CheckpointError(f"{path}: the file is one of several parts; join them with `gguf-split --merge`")
    config = ModelConfig.from_dict(config_from(file), str(path))
    chosen = choose_dtype(dtype, stored_dtype(file), device)
    weights = CheckedWeights(GgufWeights(file, config, chosen, device), config, str(path))
    template = file.metadata.get("tokenizer.chat_template")
    return Checkpoint(
        name=name,
        root=str(path),
        config=config,
        weights=weights,
        dtype=chosen,
        tokenizer_json=tokenizer_from(file),
        template=ChatTemplateSource(template if isinstance(template, str) else None, special_tokens(file)),
        eos_ids=config.eos_ids,
    )


def stored_dtype(file: GgufFile) -> torch.dtype | None:
    """The dtype of the file's matrices; None if they are quantised."""
    types = {tensor.type for tensor in file.tensors.values() if len(tensor.shape) > 1}
    return DENSE[min(types)] if types and types <= DENSE.keys() else None
