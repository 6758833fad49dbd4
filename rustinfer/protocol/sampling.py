"""How to continue one prompt: the parameters that the engine honours, under the names that vLLM's users know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from rustinfer.errors import UserError

INT64 = (-(2**63), 2**63 - 1)
MAX_N = 128
MAX_LOGPROBS = 20
MAX_STOPS = 64
MAX_STOP_TOKENS = 256


class ParameterError(UserError, ValueError):
    """One parameter has a value that cannot be meant; `param` is its name."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param} {message}")
        self.param = param


@dataclass(frozen=True)
class SamplingParams:
    """Validated on construction; raises `ParameterError`. Temperature 0 is greedy.

    `max_tokens=None` means as much as the context holds. `top_k` 0 and -1 both keep every token. `logprobs=k` asks for
    the sampled token's log-probability and those of the k best; None asks for none. `stop` holds strings, matched on
    the decoded text by whoever decodes it; `stop_token_ids` and the model's end tokens are matched by the engine.
    `seed=None` lets the engine pick one.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "stop", _strings(self.stop))
        put(self, "stop_token_ids", _token_ids(self.stop_token_ids))
        for name, low, high in _FLOATS:
            put(self, name, _number(name, getattr(self, name), low, high))
        for name, low, high, optional in _INTEGERS:
            _integer(name, getattr(self, name), low, high, optional=optional)
        for name in ("ignore_eos", "skip_special_tokens", "include_stop_str_in_output"):
            if type(getattr(self, name)) is not bool:
                raise ParameterError(name, "must be true or false")
        put(self, "top_k", max(self.top_k, 0))
        if self.repetition_penalty <= 0:
            raise ParameterError("repetition_penalty", "must be greater than 0")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ParameterError("min_tokens", f"must be at most max_tokens ({self.max_tokens})")

    @classmethod
    def names(cls) -> frozenset[str]:
        return frozenset(f.name for f in fields(cls))


_FLOATS = (
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("repetition_penalty", 0.0, 1e4),
    ("temperature", 0.0, 100.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
)
_INTEGERS = (
    ("n", 1, MAX_N, False),
    ("top_k", -1, 2**31 - 1, False),
    ("seed", *INT64, True),
    ("max_tokens", 0, 2**31 - 1, True),
    ("min_tokens", 0, 2**31 - 1, False),
    ("logprobs", 0, MAX_LOGPROBS, True),
)


def _number(name: str, value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ParameterError(name, "must be a finite number")
    if not low <= value <= high:
        raise ParameterError(name, f"must be between {low:g} and {high:g}")
    return float(value)


def _integer(name: str, value: Any, low: int, high: int, *, optional: bool) -> None:
    if value is None and optional:
        return
    if type(value) is not int:
        raise ParameterError(name, "must be an integer")
    if not low <= value <= high:
        raise ParameterError(name, f"must be between {low} and {high}")


def _strings(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value or ())
    if len(found) > MAX_STOPS:
        raise ParameterError("stop", f"may hold at most {MAX_STOPS} strings")
    if not all(isinstance(s, str) and s for s in found):
        raise ParameterError("stop", "must be a string or a list of strings, none of them empty")
    return found


def _token_ids(value: Any) -> tuple[int, ...]:
    found = tuple(value or ())
    if len(found) > MAX_STOP_TOKENS:
        raise ParameterError("stop_token_ids", f"may hold at most {MAX_STOP_TOKENS} ids")
    if not all(type(t) is int and 0 <= t < 2**31 for t in found):
        raise ParameterError("stop_token_ids", "must be a list of token ids")
    return found
