"""Bad words as tokens: with and without a space before them."""

from __future__ import annotations

import pytest

from rustinfer.protocol.bad_words import tokenized
from rustinfer.protocol.checks import ParameterError
from rustinfer.protocol.sampling import SamplingParams

VOCABULARY = {"cat": [1], " cat": [2], "a b": [3, 4], " a b": [5, 4], "c-d": [6, 7], " c-d": [8, 6, 7], "": []}


def test_after_a_space_where_the_space_joins_the_word() -> None:
    params = tokenized(SamplingParams(bad_words=["cat", "a b", " cat", "c-d"]), VOCABULARY.__getitem__)
    assert params.bad_words_token_ids == ((1,), (2,), (3, 4), (5, 4), (6, 7))
    assert params.bad_words == ()


def test_nothing_to_do() -> None:
    params = SamplingParams()
    assert tokenized(params, VOCABULARY.__getitem__) is params


@pytest.mark.parametrize("encode", [lambda text: [], lambda text: [1] * 65])
def test_words_that_cannot_be_matched(encode: object) -> None:
    with pytest.raises(ParameterError, match="bad_words"):
        tokenized(SamplingParams(bad_words=["x"]), encode)  # type: ignore[arg-type]
