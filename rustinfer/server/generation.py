"""What the generating endpoints have in common in their requests, checked by pydantic without any coercion."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rustinfer.protocol.bad_words import tokenized
from rustinfer.protocol.sampling import (
    MAX_ALLOWED,
    MAX_BAD_WORDS,
    MAX_LOGPROBS,
    MAX_STOP_TOKENS,
    ParameterError,
    SamplingParams,
)
from rustinfer.protocol.structured import MAX_CHOICES, Structured

from .errors import bad_request
from .fields import Strict
from .form import form
from .openapi.forms import LOGIT_BIAS, RESPONSE_FORMAT, SCHEMA, STOP, STREAMED, STRUCTURED_OUTPUTS
from .served import Served

MAX_STOPS = 4
MAX_LABEL = 512
TokenId = Annotated[int, Field(json_schema_extra={"minimum": 0})]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
_OWN = frozenset({"n", "max_tokens", "logprobs", "prompt_logprobs", "best_of", "structured_outputs"})
"""Parameters that the endpoints put in themselves."""


def _stop(value: Any) -> Any:
    found = [value] if isinstance(value, str) else value
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
        raise ValueError("must be a string or a list of strings")
    if len(found) > MAX_STOPS:
        raise ValueError(f"may hold at most {MAX_STOPS} strings")
    if not all(found):
        raise ValueError("must not hold an empty string")
    return found


class StreamOptions(Strict):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Generation(BaseModel):
    """None stands for a field left out. Ranges that `SamplingParams` checks are not repeated here."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=STREAMED)

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: Annotated[list[str] | None, BeforeValidator(_stop), WithJsonSchema(STOP)] = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_STOP_TOKENS)] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    logit_bias: Annotated[dict[str, Any], WithJsonSchema(LOGIT_BIAS)] | None = None
    allowed_token_ids: Annotated[list[TokenId], Field(min_length=1, max_length=MAX_ALLOWED)] | None = None
    bad_words: Annotated[list[str], Field(max_length=MAX_BAD_WORDS)] | None = None
    prompt_logprobs: int | None = None
    response_format: Annotated[dict[str, Any], WithJsonSchema(RESPONSE_FORMAT)] | None = None
    structured_outputs: Annotated[dict[str, Any], WithJsonSchema(STRUCTURED_OUTPUTS)] | None = None
    guided_json: Annotated[Any, WithJsonSchema(SCHEMA)] = None
    guided_regex: str | None = None
    guided_choice: Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)] | None = None
    guided_grammar: str | None = None
    ebnf: str | None = None
    regex: str | None = None
    json_schema: Annotated[Any, WithJsonSchema(SCHEMA)] = None
    cache_salt: Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9_.~+=:-]+$")] | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    metadata: Annotated[dict[str, Label], Field(max_length=16)] | None = None

    @property
    def way(self) -> dict[str, Any]:
        """How a request is run, besides its sampling: the fields of `Prepared`."""
        way = {"stream": bool(self.stream), "priority": self.priority or 0, "salt": self.cache_salt or ""}
        return way | ({"form": self.form[0]} if self.form else {})

    @cached_property
    def form(self) -> tuple[str, Structured] | None:
        """The form that the answer must have, after the field that says so. Raises ApiError 400."""
        return form(self)

    def sampling(self, served: Served, **own: Any) -> SamplingParams:
        """The checkpoint's defaults, then what the request says, then `own`. Raises ApiError 400 naming the field."""
        names = SamplingParams.names() - _OWN
        chosen = {k: v for k, v in served.card.defaults.items() if k in names}
        chosen |= {k: v for k in names & type(self).model_fields.keys() if (v := getattr(self, k)) is not None}
        own = {
            "n": self.n if self.n is not None else 1,
            "structured_outputs": self.form[1] if self.form else None,
            **own,
        }
        try:
            params = tokenized(SamplingParams(**{**chosen, **own}), served.plain_ids)
        except ParameterError as e:
            raise bad_request(f"{e}.", e.param) from None
        for name in ("stop_token_ids", "allowed_token_ids", "logit_bias"):
            _in_vocabulary(name, getattr(params, name) or (), served.card.vocab_size)
        return params


def _in_vocabulary(name: str, ids: Any, size: int) -> None:
    if (largest := max(ids, default=0)) >= size:
        raise bad_request(f"{name} holds {largest}, which is out of vocabulary (0 to {size - 1}, size {size}).", name)


def check_logprobs(param: str, count: int | None) -> None:
    """Before anything is sent, since the limit must answer 400 when streamed too."""
    if count is not None and not 0 <= count <= MAX_LOGPROBS:
        raise bad_request(f"{param} must be between 0 and {MAX_LOGPROBS}.", param)
