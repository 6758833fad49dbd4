"""How to continue one prompt: the parameters that the engine honours, under the names that vLLM's users know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from . import checks
from .checks import ParameterError
from .structured import Structured, structured

__all__ = ["MAX_LOGPROBS", "MAX_N", "ParameterError", "SamplingParams"]

INT64 = (-(2**63), 2**63 - 1)
MAX_N = 128
MAX_LOGPROBS = 20
MAX_STOPS = 64
MAX_STOP_TOKENS = 256
MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_ALLOWED = 1 << 16
MAX_BAD_WORDS = 256
MAX_BAD_WORD = 64
"""Tokens of one bad word."""


@dataclass(frozen=True)
class SamplingParams:
    """Validated on construction; raises `ParameterError`. Temperature 0 is greedy.

    `max_tokens=None` means as much as the context holds. `top_k` 0 and -1 both keep every token. `logprobs=k` asks for
    the sampled token's log-probability and those of the k best, `prompt_logprobs=k` for the same of the prompt's
    tokens; None asks for none. `stop` and `bad_words` hold text, which whoever has the tokenizer turns into what the
    engine knows: it matches `stop` on the decoded text, and `bad_words.tokenized` fills in `bad_words_token_ids`. The
    engine matches those, `stop_token_ids` and the model's end tokens. Of `best_of` sequences the `n` of the highest
    cumulative log-probability are wanted; the engine runs all and whoever has the text picks. `seed=None` lets the
    engine pick one. Without `detokenize` no text is made of the tokens.
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
    typical_p: float = 1.0
    logit_bias: Mapping[int, float] | None = field(default=None, hash=False)
    allowed_token_ids: Sequence[int] | None = None
    bad_words: Sequence[str] = ()
    bad_words_token_ids: Sequence[Sequence[int]] = ()
    prompt_logprobs: int | None = None
    best_of: int | None = None
    structured_outputs: Structured | None = None
    detokenize: bool = True

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, most in _STRINGS:
            put(self, name, checks.strings(name, getattr(self, name), most))
        put(self, "stop_token_ids", checks.tokens("stop_token_ids", self.stop_token_ids, MAX_STOP_TOKENS))
        put(self, "bad_words_token_ids", checks.token_lists("bad_words_token_ids", self.bad_words_token_ids, *_WORDS))
        for name, low, high in _FLOATS:
            put(self, name, checks.number(name, getattr(self, name), low, high))
        for name, least, greatest, optional in _INTEGERS:
            checks.integer(name, getattr(self, name), least, greatest, optional=optional)
        for name in ("ignore_eos", "skip_special_tokens", "include_stop_str_in_output", "detokenize"):
            checks.flag(name, getattr(self, name))
        put(self, "top_k", max(self.top_k, 0))
        put(self, "structured_outputs", structured(self.structured_outputs))
        if self.logit_bias is not None:
            put(self, "logit_bias", checks.biases("logit_bias", self.logit_bias, MAX_BIASES, MAX_BIAS) or None)
        if self.allowed_token_ids is not None:
            put(self, "allowed_token_ids", checks.tokens("allowed_token_ids", self.allowed_token_ids, MAX_ALLOWED))
        self._check_together()

    def _check_together(self) -> None:
        for name in ("repetition_penalty", "typical_p"):
            if getattr(self, name) <= 0:
                raise ParameterError(name, "must be greater than 0")
        if self.stop and not self.detokenize:
            raise ParameterError("detokenize", "must be true where there are stop strings: they are found in the text")
        if self.allowed_token_ids == ():
            raise ParameterError("allowed_token_ids", "must allow at least one token")
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise ParameterError("min_tokens", f"must be at most max_tokens ({self.max_tokens})")
        if self.best_of is not None and self.best_of < self.n:
            raise ParameterError("best_of", f"must be at least n ({self.n})")

    @property
    def sequences(self) -> int:
        """How many continuations are computed."""
        return self.best_of or self.n

    @classmethod
    def names(cls) -> frozenset[str]:
        return frozenset(f.name for f in fields(cls))


_STRINGS = (("stop", MAX_STOPS), ("bad_words", MAX_BAD_WORDS))
_WORDS = (2 * MAX_BAD_WORDS, MAX_BAD_WORD)
"""Most lists, and most tokens of one: each bad word is forbidden with and without a space before it."""
_FLOATS = (
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("repetition_penalty", 0.0, 1e4),
    ("temperature", 0.0, 100.0),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("typical_p", 0.0, 1.0),
)
_INTEGERS = (
    ("n", 1, MAX_N, False),
    ("top_k", -1, 2**31 - 1, False),
    ("seed", *INT64, True),
    ("max_tokens", 0, 2**31 - 1, True),
    ("min_tokens", 0, 2**31 - 1, False),
    ("logprobs", 0, MAX_LOGPROBS, True),
    ("prompt_logprobs", 0, MAX_LOGPROBS, True),
    ("best_of", 1, MAX_N, True),
)


def bounds() -> dict[str, tuple[float, float]]:
    """The least and the greatest value of each parameter that is a number."""
    return {name: (low, high) for name, low, high in _FLOATS} | {name: (low, high) for name, low, high, _ in _INTEGERS}
