"""What is a message and what is not."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustinfer.protocol.codec import MAX_ITEMS, TO_ENGINE, TO_SERVER, ProtocolError, decode, encode
from rustinfer.protocol.messages import (
    VERSION,
    Abort,
    Aborted,
    Delta,
    Drain,
    Failed,
    Generate,
    Hello,
    Message,
    ModelCard,
    OpRow,
    Output,
    Ping,
    Pong,
    Stats,
    TokenLogprob,
    Welcome,
)
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.protocol.schema import coder
from rustinfer.protocol.structured import Structured

V = bytes([VERSION])
PARAMS = SamplingParams(
    n=2, temperature=0.5, seed=-(2**63), stop=("a", "é"), stop_token_ids=(3, 2**31 - 1), logprobs=2, typical_p=0.5,
    logit_bias={7: -100, 2**31 - 1: 0.5}, allowed_token_ids=(7, 8), bad_words=("x",),
    bad_words_token_ids=((1, 2), (3,)), prompt_logprobs=0, best_of=3, structured_outputs=Structured("choice", '["a"]'),
)  # fmt: skip
CARD = ModelCard(
    "org/name", 8192, 49152, [1, 2], '{"a": "é"}', {"default": "x", "tool_use": "y"}, {"bos_token": "<s>"},
    "bfloat16", 16, 1, "/m", [OpRow("site", "op", "kernel", {"other": "why"})], {"temperature": 0.6, "top_k": 40},
)  # fmt: skip
OUTPUT = Output(
    "1", 1, [5, 6], [(-0.25, [(5, -0.25), (7, float("-inf"))], 1), (-1.0, [], 9)], "stop", 9, 3, 2, [(-1.5, [], 4)]
)
MESSAGES: list[Message] = [
    Hello(VERSION, "0.1", "s"),
    Welcome(VERSION, "0.1", 2**63 + 1, "fp", CARD),
    Generate("a", [1, 2, 3], PARAMS, -1),
    Abort(["a", "b"], 1),
    Aborted([]),
    Delta(7, [OUTPUT, Output("2", 0, [])]),
    Failed("a", "code", "message"),
    Stats(1, 2, 3),
    Ping(4),
    Pong(4, 7),
    Drain(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_round_trip(message: Message) -> None:
    assert decode(encode(message)) == message


def test_every_message_is_tried_here() -> None:
    assert {type(m) for m in MESSAGES} == set(get_args(Message))
    assert len(TO_ENGINE) + len(TO_SERVER) == len(MESSAGES)


def test_a_template_may_be_one_or_none() -> None:
    for template in ("text", None):
        card = dataclasses.replace(CARD, chat_template=template)
        assert decode(encode(Welcome(VERSION, "", 1, "", card))) == Welcome(VERSION, "", 1, "", card)


def test_what_cannot_be_written() -> None:
    for bad in (Generate("a", [2**31], PARAMS), Generate("\ud800", [1], PARAMS), Ping(2**70)):
        with pytest.raises(ProtocolError):
            encode(bad)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_t2_pickles_stay_closed(tmp_path: Path) -> None:
    pickled = pickle.dumps(Bomb(tmp_path / "made"))
    for frames in (
        [V, b"generate", pickled],
        [pickled],
        [pickled] * 3,
        [V, b"generate", msgpack.packb(pickled)],
    ):
        with pytest.raises(ProtocolError):
            decode(frames)
    assert not (tmp_path / "made").exists()


def payload(*values: Any) -> list[bytes]:
    return [V, b"generate", msgpack.packb(list(values))]


PACKED = b"\1\0\0\0"
GOOD = coder(SamplingParams).encode(PARAMS)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [V, b"generate"],
        [bytes([VERSION + 1]), b"generate", encode(MESSAGES[2])[2]],
        [V, b"nothing", b"\x90"],
        [V, b"generate", b""],
        [V, b"generate", b"\xc1"],
        [V, b"generate", encode(MESSAGES[2])[2][:-1]],
        [V, b"generate", encode(MESSAGES[2])[2] + b"\0"],
        [V, b"generate", b"\xdd\xff\xff\xff\xff"],
        [V, b"generate", b"\xdf\xff\xff\xff\xff"],
        [V, b"generate", b"\xdb\xff\xff\xff\xff"],
        [V, b"generate", b"\x91" * 100_000],
        [V, b"generate", b"\xdc\x3f\xff" * 1000],
        [V, b"generate", b"\xc7\x05\x01aaaaa"],
        [V, b"generate", msgpack.packb([0] * (MAX_ITEMS + 1))],
        [V, b"generate", msgpack.packb(msgpack.Timestamp(1))],
        payload("a", PACKED, GOOD, 0),
        payload("a", PACKED, GOOD, 0, "", "", 0, ""),
        payload("a", PACKED, GOOD, 0, "", "max", 0),
        payload("a", PACKED, GOOD, 0, 0, "", 0),
        payload("a", PACKED, GOOD, 0, "", "", "0"),
        payload(1, PACKED, GOOD, 0, "", "", 0),
        payload(b"a", PACKED, GOOD, 0, "", "", 0),
        payload("a", [1], GOOD, 0, "", "", 0),
        payload("a", b"\1\0\0", GOOD, 0, "", "", 0),
        payload("a", PACKED, GOOD, 1.0, "", "", 0),
        payload("a", PACKED, GOOD, True, "", "", 0),
        payload("a", PACKED, GOOD[:-1], 0, "", "", 0),
        payload("a", PACKED, [0, *GOOD[1:]], 0, "", "", 0),
        payload("a", PACKED, [*GOOD[:4], float("nan"), *GOOD[5:]], 0, "", "", 0),
        payload("a", PACKED, dict(enumerate(GOOD)), 0, "", "", 0),
        payload("a", PACKED, None, 0, "", "", 0),
    ],
)
def test_f14_malformed(frames: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(frames)
    assert "\n" not in str(caught.value)


def test_a_good_payload_is_good() -> None:
    assert decode(payload("a", PACKED, GOOD, 0, "s", "mean", -1)) == Generate("a", [1], PARAMS, 0, "s", "mean", -1)


SCORED = coder(list[TokenLogprob]).encode([(-0.5, [(3, -0.5), (4, -1.0)], 1)])


@pytest.mark.parametrize(
    "scores",
    [
        SCORED[:2],
        [SCORED[0][:-1], *SCORED[1:]],
        [SCORED[0] * 2, *SCORED[1:]],
        [SCORED[0], SCORED[1] * 2, SCORED[2]],
        [SCORED[0], [[PACKED, *SCORED[1][0][1:]]], SCORED[2]],
        [[-0.5], *SCORED[1:]],
    ],
)
def test_f14_malformed_scores(scores: Any) -> None:
    def output(scores: Any) -> list[bytes]:
        return [V, b"delta", msgpack.packb([1, [["a", 0, PACKED, scores, None, None, 0, 0, None, None]]])]

    assert decode(output(SCORED)) == Delta(1, [Output("a", 0, [1], [(-0.5, [(3, -0.5), (4, -1.0)], 1)])])
    with pytest.raises(ProtocolError):
        decode(output(scores))


def test_messages_of_the_other_direction_are_refused() -> None:
    with pytest.raises(ProtocolError):
        decode(encode(Ping(1)), TO_SERVER)
    with pytest.raises(ProtocolError):
        decode(encode(Drain()), TO_ENGINE)


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.randoms(use_true_random=False), st.integers(1, 8))
def test_f20_mutations_raise_nothing_else(message: Message, luck: random.Random, changes: int) -> None:
    version, kind, data = encode(message)
    mutated = bytearray(data or b"\0")
    for _ in range(changes):
        mutated[luck.randrange(len(mutated))] = luck.randrange(256)
    try:
        decoded = decode([version, kind, bytes(mutated)])
    except ProtocolError:
        return
    assert type(decoded) is type(message)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=64), max_size=4), st.sampled_from([*TO_ENGINE, *TO_SERVER]))
def test_f20_noise_raises_nothing_else(frames: list[bytes], kind: bytes) -> None:
    for candidate in (frames, [V, kind, b"".join(frames)]):
        try:
            decode(candidate)
        except ProtocolError:
            continue
