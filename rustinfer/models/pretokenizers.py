"""How byte-level vocabularies cut text into words before merging, by the names that GGUF files give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import CheckpointError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {"llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3, "qwen2": _QWEN2, "tekken": _TEKKEN}
_GPT2 = ("gpt-2", "gpt2", "olmo", "phi-2")
_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")  # each digit is a word, then as GPT-2

IGNORING_MERGES = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Their vocabularies hold whole words that no merges lead to, and their texts begin with a special token."""


def pre_tokenizer(name: object, where: Path) -> dict[str, Any]:
    """The pre-tokenizer of tokenizers' JSON for a name in GGUF."""
    if name in _GPT2:
        return _byte_level(True)
    if name in _DIGITS:
        return _sequence({"type": "Digits", "individual_digits": True}, _byte_level(True))
    if name in tuple(_SPLITS):  # a file may have something there that no table can look up
        split = {"type": "Split", "pattern": {"Regex": _SPLITS[str(name)]}, "behavior": "Isolated", "invert": False}
        return _sequence(split, _byte_level(False))
    known = ", ".join(sorted({*_GPT2, *_DIGITS, *_SPLITS}))
    raise CheckpointError(f"{where}: pre-tokenizer {name!r} is not known; known: {known}")


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}
