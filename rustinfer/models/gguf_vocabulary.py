"""A GGUF file's vocabulary as a tokenizers JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .errors import CheckpointError
from .gguf import GgufFile
from .pretokenizers import IGNORING_MERGES, pre_tokenizer
from .sentencepiece import merges_by_score

_UNKNOWN, _CONTROL, _USER = 2, 3, 4
_SPACE = "\u2581"


def tokenizer_from(file: GgufFile) -> str | None:
    """The tokenizer that the metadata describe, as JSON; None where the file has no vocabulary."""
    kind = file.metadata.get("tokenizer.ggml.model")
    if kind is None:
        return None
    vocabulary = Vocabulary(file)
    if kind == "gpt2":
        body = _byte_level(vocabulary)
    elif kind == "llama":
        body = _sentencepiece(vocabulary)
    else:
        raise CheckpointError(f"{file.path}: tokenizer model {kind!r} is not read, only gpt2 and llama")
    frame = {"version": "1.0", "added_tokens": vocabulary.added()}
    return json.dumps({**frame, **body, "post_processor": vocabulary.post_processor()}, ensure_ascii=False)


def special_tokens(file: GgufFile) -> dict[str, str]:
    """The texts of bos_token, eos_token and so on, for chat templates."""
    if "tokenizer.ggml.tokens" not in file.metadata:
        return {}
    names, vocabulary = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}, Vocabulary(file)
    tokens = {f"{short}_token": vocabulary.token(name) for name, short in names.items()}
    return {short: token for short, token in tokens.items() if token is not None}


class Vocabulary:
    """The parts of the metadata that make up a tokenizer."""

    def __init__(self, file: GgufFile) -> None:
        self.where = file.path
        self._metadata = file.metadata
        self.tokens: list[str] = self._list("tokens", str)
        self.types: list[int] = self._list("token_type", int) or [1] * len(self.tokens)
        if not self.tokens or len(self.types) != len(self.tokens):
            raise CheckpointError(f"{self.where}: {len(self.tokens)} tokens have {len(self.types)} types")

    @property
    def ids(self) -> dict[str, int]:
        """Ids by token. Of a token that is there twice, the first id counts."""
        return dict(zip(reversed(self.tokens), range(len(self.tokens) - 1, -1, -1), strict=True))

    def get(self, name: str, default: Any = None) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{name}", default)

    def token(self, name: str, default: int | None = None) -> str | None:
        """The token with the id that the metadata name so; None where there is none."""
        place = self.get(f"{name}_token_id", default)
        return self.tokens[place] if isinstance(place, int) and 0 <= place < len(self.tokens) else None

    def merges(self) -> list[list[str]]:
        """The merges of a byte-level vocabulary, best first."""
        pairs = [merge.split(" ") for merge in self._list("merges", str)]
        if not set(map(len, pairs)) <= {2}:
            raise CheckpointError(f"{self.where}: a merge does not join two tokens")
        return pairs

    def scores(self) -> list[float]:
        """The scores of a SentencePiece vocabulary."""
        scores: list[float] = self._list("scores", float)
        if len(scores) != len(self.tokens):
            raise CheckpointError(f"{self.where}: {len(self.tokens)} tokens have {len(scores)} scores")
        return scores

    def added(self) -> list[dict[str, Any]]:
        """Control tokens, which are special, and tokens that the model's makers added."""
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": i, "content": token, **plain, "special": kind != _USER}
            for i, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in (_UNKNOWN, _CONTROL, _USER) and token
        ]

    def post_processor(self) -> dict[str, Any] | None:
        """Puts the tokens that begin and end a text around it, if the model wants them."""
        bos = self._edge("bos", self.get("model") == "llama" or self.get("pre") in IGNORING_MERGES)
        eos = self._edge("eos", False)
        if bos is None and eos is None:
            return None
        single, pair = ([_special(bos)] if bos else []), ([_special(eos)] if eos else [])
        return {
            "type": "TemplateProcessing",
            "single": [*single, _sequence("A"), *pair],
            "pair": [*single, _sequence("A"), _sequence("B"), *pair],
            "special_tokens": {t: {"id": t, "ids": [self.ids[t]], "tokens": [t]} for t in (bos, eos) if t},
        }

    def _edge(self, name: str, default: bool) -> str | None:
        if not self.get(f"add_{name}_token", default):
            return None
        if (token := self.token(name)) is None:
            raise CheckpointError(
                f"{self.where}: {name}_token_id {self.get(f'{name}_token_id')} is not in the vocabulary"
            )
        return token

    def _list(self, name: str, kind: type) -> list[Any]:
        values = self.get(name, [])
        if not isinstance(values, list) or not set(map(type, values)) <= {kind}:
            raise CheckpointError(f"{self.where}: tokenizer.ggml.{name} is not a list of {kind.__name__}")
        return values


def _byte_level(v: Vocabulary) -> dict[str, Any]:
    pre = v.get("pre")
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": pre_tokenizer(pre, v.where),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(v, v.merges(), ignore_merges=pre in IGNORING_MERGES),
    }


def _sentencepiece(v: Vocabulary) -> dict[str, Any]:
    """As Hugging Face converts SentencePiece BPE: spaces are letters, and unknown letters fall back to bytes."""
    prefix = bool(v.get("add_space_prefix", True))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    back = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "normalizer": _steps([{"type": "Prepend", "prepend": _SPACE}] if prefix else [], replace),
        "pre_tokenizer": None,
        "decoder": _steps([back], {"type": "ByteFallback"}, {"type": "Fuse"}, *strip, key="decoders"),
        "model": _bpe(v, merges_by_score(v.tokens, v.types, v.scores()))
        | {"byte_fallback": True, "fuse_unk": True, "unk_token": v.token("unknown", 0)},
    }


def _steps(first: list[dict[str, Any]], *rest: dict[str, Any], key: str = "normalizers") -> dict[str, Any]:
    return {"type": "Sequence", key: [*first, *rest]}


def _bpe(v: Vocabulary, merges: Sequence[Sequence[str]], ignore_merges: bool = False) -> dict[str, Any]:
    return {"type": "BPE", "ignore_merges": ignore_merges, "vocab": v.ids, "merges": merges}


def _special(token: str) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": 0}}


def _sequence(name: str) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": 0}}
