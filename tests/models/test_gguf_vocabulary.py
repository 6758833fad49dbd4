"""Vocabularies of GGUF files against SentencePiece itself and against byte-level BPE by its definition."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast
from unicodedata import normalize

import pytest
import regex

from rustinfer.models.errors import CheckpointError
from rustinfer.models.gguf import GgufFile
from rustinfer.models.gguf_vocabulary import special_tokens, tokenizer_from
from rustinfer.models.pretokenizers import pre_tokenizer
from rustinfer.text import Tokenizer
from rustinfer.text.tokenizer import byte_characters

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "Hello, world! It's 12345 o'clock; we'LL see 3.14159 and 1,000,000.",
    "naïve café, ñandú: 你好 世界 😀 über-straße",
    "  two  spaces\n\n\tand tabs \r\n  x\n",
    "Привет, мир! мир мир",
    "def f(x):\n    return x ** 2  # comment\n",
    "",
    " ",
    "\n\n",
    "aaaaaaaaaaaa bbb ababab",
    "A\u0301 e\u0301 \u200d mixed123abc 12ab34",
]


@dataclass
class Metadata:
    """As much of a GGUF file as a vocabulary needs."""

    metadata: dict[str, Any]
    path: Path = Path("x.gguf")


def tokenizer(fields: dict[str, Any]) -> Tokenizer:
    file = Metadata({f"tokenizer.ggml.{key}": value for key, value in fields.items()})
    return Tokenizer(tokenizer_from(cast("GgufFile", file)) or "")


# Byte-level BPE ------------------------------------------------------------------------------------------------------

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{REST}"
QWEN2 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{REST}"
BYTES = byte_characters()


def words(pre: str, text: str) -> list[str]:
    """A text cut as GPT-2, SmolLM (digits first), Llama 3 and Qwen 2 cut it."""
    if pre == "smollm":
        return [w for part in regex.findall(r"\p{N}|\P{N}+", text) for w in regex.findall(GPT2, part)]
    return cast("list[str]", regex.findall({"gpt-2": GPT2, "llama-bpe": LLAMA3, "qwen2": QWEN2}[pre], text))


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Join the neighbours of the best rank, leftmost first, until none can be joined."""
    parts = [BYTES[byte] for byte in word.encode()]
    while pairs := [(ranks[p], i) for i, p in enumerate(pairwise(parts)) if p in ranks]:
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def trained(pre: str, steps: int = 120) -> tuple[list[str], list[tuple[str, str]]]:
    """A byte-level vocabulary and its merges, by counting pairs in TEXTS."""
    corpus = [[BYTES[b] for b in word.encode()] for text in TEXTS for word in words(pre, text)]
    tokens, merges = list(BYTES.values()), []
    for _ in range(steps):
        counts: dict[tuple[str, str], int] = {}
        for parts in corpus:
            for pair in pairwise(parts):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        tokens.append("".join(best))
        ranks = {pair: i for i, pair in enumerate(merges)}
        corpus = [merged(bytes(B_OF[c] for part in parts for c in part).decode(), ranks) for parts in corpus]
    return tokens, merges


B_OF = {c: b for b, c in BYTES.items()}


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_byte_level_ids(pre: str) -> None:
    tokens, merges = trained(pre)
    whole = "zqz"  # no merges lead to it: only a vocabulary that ignores merges finds it
    tokens = list(dict.fromkeys([*tokens, "\u0120" + whole, "<|start|>", "<|end|>", "<tool>"]))
    kinds = [1] * (len(tokens) - 3) + [3, 3, 4]
    ours = tokenizer(
        {
            "model": "gpt2",
            "pre": pre,
            "tokens": tokens,
            "token_type": kinds,
            "merges": [" ".join(pair) for pair in merges],
            "add_bos_token": False,
        }
    )
    ids, ranks = {token: i for i, token in enumerate(tokens)}, {pair: i for i, pair in enumerate(merges)}
    for text in TEXTS:
        normal = normalize("NFC", text) if pre == "qwen2" else text
        expected = []
        for word in words(pre, normal):
            spelled = "".join(BYTES[b] for b in word.encode())
            found = [spelled] if pre == "llama-bpe" and spelled in ids else merged(word, ranks)
            expected += [ids[part] for part in found]
        assert ours.encode(text) == expected, text
        assert ours.decode(expected) == normal
    assert ours.encode("<|start|>x<tool>") == [ids["<|start|>"], ids["x"], ids["<tool>"]]
    assert ours.decode([ids["<|start|>"], ids["<tool>"]]) == "<tool>"
    assert (ids["\u0120" + whole] in ours.encode("a zqz")) == (pre == "llama-bpe")


def test_the_first_of_twin_tokens_counts() -> None:
    tokens = [*BYTES.values(), "a", "<e>"]
    ours = tokenizer({"model": "gpt2", "pre": "gpt-2", "tokens": tokens, "token_type": [1] * 257 + [3], "merges": []})
    assert ours.encode("a") == [tokens.index("a")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "x"),
        ({"add_bos_token": True}, "<s>x"),
        ({"add_bos_token": True, "add_eos_token": True}, "<s>x</s>"),
        ({"pre": "llama-bpe"}, "<s>x"),
    ],
)
def test_tokens_around_a_text(fields: dict[str, Any], expected: str) -> None:
    base = {"model": "gpt2", "pre": "gpt-2", "tokens": [*BYTES.values(), "<s>", "</s>"], "merges": []}
    ours = tokenizer({**base, "token_type": [1] * 256 + [3, 3], "bos_token_id": 256, "eos_token_id": 257, **fields})
    assert ours.decode(ours.encode("x"), skip_special_tokens=False) == expected
    assert ours.decode(ours.encode("x", add_special_tokens=False), skip_special_tokens=False) == "x"


# SentencePiece -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("sentencepiece")
    (directory / "text").write_text("\n".join(t.replace("\n", " ") for t in TEXTS if t.strip()) * 3)
    sentencepiece.SentencePieceTrainer.train(
        input=str(directory / "text"),
        model_prefix=str(directory / "m"),
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        character_coverage=0.99,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(directory / "m.model"))


def llama_fields(p: Any) -> dict[str, Any]:
    """As llama.cpp's converter writes a SentencePiece model."""

    def kind(i: int) -> int:
        return 2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 1

    size = range(p.vocab_size())
    return {
        "model": "llama",
        "tokens": [p.id_to_piece(i) for i in size],
        "scores": [p.get_score(i) for i in size],
        "token_type": [kind(i) for i in size],
        "bos_token_id": p.bos_id(),
        "eos_token_id": p.eos_id(),
        "unknown_token_id": p.unk_id(),
    }


@pytest.mark.parametrize("text", [*TEXTS, "never seen: Ωμέγα ☃ ಠ_ಠ", "x" * 300])
def test_sentencepiece_ids(piece: Any, text: str) -> None:
    ours = tokenizer(llama_fields(piece))
    assert ours.encode(text) == [piece.bos_id(), *piece.encode(text)]
    assert ours.encode(text, add_special_tokens=False) == piece.encode(text)
    assert ours.decode(piece.encode(text)) == text


def test_sentencepiece_without_a_space_in_front(piece: Any) -> None:
    ours = tokenizer({**llama_fields(piece), "add_space_prefix": False, "add_bos_token": False})
    assert ours.decode(ours.encode("Hello")) == "Hello"
    assert ours.encode(" Hello") == piece.encode("Hello")


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "bert", "tokens": ["a"]}, "'bert' is not read"),
        ({"tokens": []}, "0 tokens"),
        ({"tokens": ["a"], "token_type": [1, 1]}, "1 tokens have 2 types"),
        ({"tokens": "abc"}, "not a list of str"),
        ({"tokens": ["a"], "token_type": [1], "merges": ["a b c"]}, "does not join two"),
        ({"tokens": ["a"], "add_bos_token": True, "bos_token_id": 7}, "bos_token_id 7 is not in the vocabulary"),
        ({"tokens": ["a"], "model": "llama", "scores": []}, "1 tokens have 0 scores"),
        ({"tokens": ["a"], "pre": None}, "pre-tokenizer None is not known"),
    ],
)
def test_a_vocabulary_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        tokenizer({"model": "gpt2", "pre": "gpt-2", **fields})


def test_a_file_without_a_vocabulary_has_no_tokenizer() -> None:
    assert tokenizer_from(cast("GgufFile", Metadata({}))) is None


def test_texts_of_special_tokens() -> None:
    fields = {
        "tokenizer.ggml.tokens": ["<s>", "</s>"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 9,
    }
    assert special_tokens(cast("GgufFile", Metadata(fields))) == {"bos_token": "<s>"}
    fields["tokenizer.ggml.tokens"] = 5
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.tokens is not a list"):
        special_tokens(cast("GgufFile", Metadata(fields)))


@pytest.mark.parametrize("unknown", ["x", -5, 9])
def test_an_unknown_token_that_is_none(unknown: object) -> None:
    """Of a file that lies: there is a tokenizer, which has no token for what it does not know."""
    fields = {"model": "llama", "tokens": ["a", "b"], "scores": [0.0, 0.0], "add_bos_token": False}
    named = {f"tokenizer.ggml.{name}": value for name, value in {**fields, "unknown_token_id": unknown}.items()}
    made = tokenizer_from(cast("GgufFile", Metadata(named)))
    assert json.loads(str(made))["model"]["unk_token"] is None


def test_every_pre_tokenizer_can_be_built() -> None:
    for name in ("gpt-2", "smollm", "starcoder", "llama-bpe", "qwen2", "tekken"):
        assert pre_tokenizer(name, Path("x"))["type"] in ("ByteLevel", "Sequence")
