from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tokenizers import Tokenizer as Implementation

from rustinfer.text import TextError, Tokenizer

from .vocabularies import TEXTS, byte_level, sentencepiece


@pytest.mark.parametrize("text", TEXTS)
def test_encodes_as_the_library_does(text: str) -> None:
    source = byte_level()
    tokenizer, library = Tokenizer(source), Implementation.from_str(source)
    assert tokenizer.encode(text) == library.encode(text).ids
    assert tokenizer.encode(text, add_special_tokens=False) == library.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokenizer.encode(text, False), skip_special_tokens=False) == text


def test_special_tokens_are_added_and_skipped_on_request() -> None:
    tokenizer = Tokenizer(byte_level())
    start = tokenizer.find("<|im_start|>")
    assert tokenizer.encode("hi")[0] == start
    assert tokenizer.encode("hi", add_special_tokens=False)[0] != start
    assert tokenizer.decode(tokenizer.encode("hi")) == "hi"
    assert tokenizer.decode(tokenizer.encode("hi"), skip_special_tokens=False) == "<|im_start|>hi"
    assert start in tokenizer.special_ids
    assert tokenizer.find("two words") not in tokenizer.special_ids


def test_truncation_and_padding_of_the_file_are_switched_off() -> None:
    table = json.loads(byte_level())
    table["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    table["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    text = "a text of more than three tokens"
    assert Tokenizer(json.dumps(table)).encode(text) == Tokenizer(byte_level()).encode(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("source", [byte_level(), sentencepiece()], ids=["byte-level", "sentencepiece"])
def test_the_bytes_of_the_tokens_make_up_the_text(source: str, text: str) -> None:
    tokenizer = Tokenizer(source)
    ids = tokenizer.encode(text, add_special_tokens=False)
    joined = b"".join(map(tokenizer.token_bytes, ids)).decode()
    prefix = " " if tokenizer.kind == "sentencepiece" and text else ""
    assert joined == prefix + text


def test_the_bytes_of_single_tokens() -> None:
    level, piece = Tokenizer(byte_level()), Tokenizer(sentencepiece())
    assert level.token_bytes(level.encode("\n", False)[0]) == b"\n"
    assert level.token_bytes(level.find("two words") or 0) == b"two words"
    assert piece.token_bytes(piece.find("<0xE2>") or 0) == b"\xe2"
    assert piece.token_bytes(piece.find("\u2581Hello") or 0) == b" Hello"
    assert piece.token_bytes(piece.find("<s>") or 0) == b"<s>"
    assert level.token_bytes(10**6) == b""
    assert level.token_bytes(-1) == b""


def test_another_decoder_gives_the_bytes_in_the_middle_of_a_text() -> None:
    model = {"type": "WordPiece", "vocab": {"un": 0, "##do": 1}, "unk_token": "un", "max_input_chars_per_word": 9}
    table = {
        "version": "1.0",
        "added_tokens": [],
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": model | {"continuing_subword_prefix": "##"},
    }
    tokenizer = Tokenizer(json.dumps(table))
    assert tokenizer.kind == "other"
    assert [tokenizer.token_bytes(i) for i in (0, 1)] == [b" un", b"do"]


def test_unknown_ids_decode_to_nothing() -> None:
    tokenizer = Tokenizer(byte_level())
    assert tokenizer.decode([10**7, -5, 1 << 40]) == ""
    assert tokenizer.token(10**7) is None
    assert tokenizer.find("no such token") is None


@pytest.mark.parametrize("source", ["", "{", "[]", "{}", '{"model": {"type": "Unheard"}}'])
def test_a_broken_tokenizer_is_one_line(source: str) -> None:
    with pytest.raises(TextError, match="the tokenizer cannot be read") as error:
        Tokenizer(source)
    assert "\n" not in str(error.value)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(TextError, match="cannot be encoded"):
        Tokenizer(byte_level()).encode("bad \ud800 text")


def test_text_is_free_of_torch() -> None:
    code = "import sys, rustinfer.text; sys.exit(bool({'torch', 'numpy', 'gguf'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_the_longest_token_is_the_librarys(kind: str) -> None:
    table = json.loads(byte_level())
    if kind == "Unigram":
        scored = [[token, -1.0] for token in table["model"]["vocab"]]
        table["model"] = {"type": "Unigram", "unk_id": 0, "vocab": scored}
    for added in ("", "<|longer than any other token, é|>"):
        token = {"id": 90_000, "content": added, "single_word": False, "lstrip": False, "rstrip": False}
        table["added_tokens"] += [{**token, "normalized": False, "special": True}] if added else []
        source = json.dumps(table)
        library = Implementation.from_str(source).get_vocab(True)
        assert Tokenizer(source).longest == max(len(name.encode()) for name in library)


def test_how_much_text_a_token_may_stand_for() -> None:
    source = byte_level()
    longest = Tokenizer(source).longest
    assert longest is not None
    assert longest == max(len(token.encode()) for token in Implementation.from_str(source).get_vocab())
    for text in [*TEXTS, " " * 5000, "x" * 5000, "<|im_end|>" * 50]:
        assert len(text.encode()) <= longest * len(Tokenizer(source).encode(text, False))
    table = json.loads(source)
    assert Tokenizer(json.dumps(table | {"normalizer": {"type": "NFC"}})).longest == 3 * longest
    assert (
        Tokenizer(
            json.dumps(table | {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}})
        ).longest
        is None
    )
    table["added_tokens"][0]["lstrip"] = True
    assert Tokenizer(json.dumps(table)).longest is None
    assert Tokenizer(sentencepiece()).longest is None
