"""From what a user calls a model to an open checkpoint: a directory, a .gguf file, an alias, a hub id, a shape."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from ..flags import LOAD_FORMATS
from .aliases import ALIASES
from .checkpoint import Checkpoint
from .errors import CheckpointError, UnknownModelError
from .shapes import SHAPES

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def open_checkpoint(
    ref: str | Path, *, load_format: str = "auto", dtype: torch.dtype | str = "auto", device: torch.device | str = "cpu"
) -> Checkpoint:
    """Open what `ref` names, fetching it first where it is not on this machine.

    `dtype` is a floating dtype or "auto": the stored one, but bfloat16 for packed weights, and on a CPU for float16
    too. `load_format` "dummy" makes random weights, for a built-in shape or a directory's config.json; "safetensors"
    and "gguf" only refuse the other one.
    """
    from .directory import open_directory
    from .dummy import open_shape
    from .gguf_checkpoint import open_gguf

    if load_format not in LOAD_FORMATS:
        raise UnknownModelError(f"load format {load_format!r} is not known; known: {', '.join(LOAD_FORMATS)}")
    name, device, dummy = str(ref), torch.device(device), load_format == "dummy"
    if name in SHAPES and not Path(name).exists():
        if not dummy:
            raise UnknownModelError(f"{name} is a built-in shape without weights: add --load-format dummy to run it")
        return open_shape(name, dtype, device)
    path = locate(ref)
    if path.is_dir():
        if load_format == "gguf":
            raise CheckpointError(f"{path}: a directory, but the load format is gguf; name a .gguf file")
        return open_directory(path, _directory_name(name, path), dtype, device, dummy)
    if load_format in ("safetensors", "dummy"):
        raise CheckpointError(f"{path}: a GGUF file cannot be opened with load format {load_format}")
    checkpoint = open_gguf(path, path.stem, dtype, device)
    return replace(checkpoint, name=ALIASES[name].served) if name in ALIASES else checkpoint


def locate(ref: str | Path) -> Path:
    """The directory or .gguf file on this machine that a reference names; an alias or hub id is fetched if need be."""
    from .download import fetch
    from .hub import snapshot

    name = str(ref)
    if not isinstance(ref, (str, Path)) or not name.strip():
        raise UnknownModelError(f"{ref!r} is no model: {_known()}")
    try:
        path = Path(ref).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            return _accepted(path)
    except (OSError, RuntimeError) as error:  # a name too long, the home of nobody
        raise UnknownModelError(f"{name[:80]!r} is no model: {getattr(error, 'strerror', None) or error}") from None
    if name in ALIASES:
        return fetch(ALIASES[name])
    if _HUB_ID.fullmatch(name) and not name.endswith((".gguf", ".safetensors")):
        return snapshot(name)
    if path.suffix or len(path.parts) > 1:
        raise UnknownModelError(f"{ref}: there is no such file or directory")
    raise UnknownModelError(f"{name!r} is no model: {_known()}")


def _accepted(path: Path) -> Path:
    if path.suffix == ".gguf":
        return path
    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: name the directory, which has config.json too, not one of its files")
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise CheckpointError(f"{path}: pickles are not read; convert the weights to safetensors")
    raise CheckpointError(f"{path}: neither a directory nor a .gguf file")


def _known() -> str:
    aliases = ", ".join(sorted({alias.name for alias in ALIASES.values()}))
    shapes = ", ".join(SHAPES)
    return (
        f"use {aliases}, a directory, a .gguf file, a hub id org/name, or a shape ({shapes}) with --load-format dummy"
    )


def _directory_name(ref: str, path: Path) -> str:
    return ref if not Path(ref).expanduser().exists() else path.resolve().name
