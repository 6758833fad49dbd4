"""Sampling parameters: what is taken and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from rustinfer.errors import UserError
from rustinfer.protocol.sampling import ParameterError, SamplingParams


def test_defaults_are_those_of_vllm() -> None:
    params = SamplingParams()
    assert (params.n, params.temperature, params.top_p, params.top_k, params.max_tokens) == (1, 1.0, 1.0, 0, 16)
    assert (params.stop, params.stop_token_ids, params.seed, params.logprobs) == ((), (), None, None)


def test_forms_that_mean_the_same() -> None:
    assert SamplingParams(stop="a") == SamplingParams(stop=["a"])
    assert SamplingParams(top_k=-1).top_k == 0
    assert type(SamplingParams(temperature=1).temperature) is float
    assert SamplingParams(logit_bias={"5": 1}) == SamplingParams(logit_bias={5: 1.0})  # type: ignore[dict-item]
    assert SamplingParams(logit_bias={}, bad_words=None) == SamplingParams()  # type: ignore[arg-type]
    assert hash(SamplingParams(logit_bias={5: 1})) == hash(SamplingParams(logit_bias={5: 1}))
    assert hash(SamplingParams(stop=["a"])) == hash(SamplingParams(stop=("a",)))
    assert SamplingParams(stop=None, stop_token_ids=None) == SamplingParams()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("n", v) for v in (0, -1, 129, 10**9, 1.0, True, None, "1")],
        *[("temperature", v) for v in (-0.1, 101, float("nan"), float("inf"), "1", True, None)],
        *[("top_p", v) for v in (-0.1, 1.1, float("nan"))],
        *[("min_p", v) for v in (-0.1, 1.1)],
        *[("top_k", v) for v in (-2, 2**31, 1.5)],
        *[("presence_penalty", v) for v in (-2.1, 2.1)],
        *[("frequency_penalty", v) for v in (-2.1, 2.1)],
        *[("repetition_penalty", v) for v in (0, -1)],
        *[("seed", v) for v in (2**63, -(2**63) - 1, 1.5, "1")],
        *[("max_tokens", v) for v in (-1, 2**31, 1.5)],
        *[("min_tokens", v) for v in (-1, 17, None)],
        *[("logprobs", v) for v in (-1, 21, True)],
        *[("prompt_logprobs", v) for v in (-1, 21, True)],
        *[("typical_p", v) for v in (0, -0.1, 1.1, float("nan"), None)],
        *[("best_of", v) for v in (0, -1, 129, True, 1.0)],
        *[("logit_bias", v) for v in ({1: 101}, {1: float("nan")}, {-1: 0}, {"x": 0}, {"²": 1}, {1.5: 0}, [1], 5, "a")],
        ("logit_bias", dict.fromkeys(range(1025), 1.0)),
        *[("allowed_token_ids", v) for v in ([], [-1], [True], "1", 5, range(2**16 + 1))],
        *[("bad_words", v) for v in ("", [""], [1], ["a"] * 257, 5)],
        *[("bad_words_token_ids", v) for v in ([[]], [[-1]], [5], "a", [[1] * 65], [[1]] * 513)],
        *[("structured_outputs", v) for v in ("json", 5, {}, {"json": "{}", "regex": "a"}, {"xml": "a"})],
        *[("structured_outputs", {"json": v}) for v in ("", 5, {"a": {1}}, [1])],
        *[("structured_outputs", {"choice": v}) for v in ([], [""], [1], ["a"] * 1025)],
        *[
            ("structured_outputs", {kind: v})
            for kind in ("regex", "grammar")
            for v in ("", 5, ["a"], "a" * (2**18 + 1))
        ],
        *[("structured_outputs", {"json_object": v}) for v in (1, "yes", False)],
        *[("stop", v) for v in ("", [""], [1], ["a"] * 65)],
        *[("stop_token_ids", v) for v in ([-1], [2**31], ["a"], [True], [0] * 257)],
        *[("ignore_eos", v) for v in (1, "yes", None)],
        *[("skip_special_tokens", v) for v in (0,)],
        *[("include_stop_str_in_output", v) for v in (0,)],
    ],
)
def test_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name
    assert str(caught.value).startswith(name)
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, ValueError)


def test_what_must_fit_together() -> None:
    with pytest.raises(ParameterError, match="best_of must be at least n"):
        SamplingParams(n=3, best_of=2)
    assert SamplingParams(n=2).sequences == 2
    assert SamplingParams(n=2, best_of=5).sequences == 5
