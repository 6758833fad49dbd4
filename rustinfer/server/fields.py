"""What the two generating endpoints have in common in their requests, checked by pydantic without any coercion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from rustinfer.protocol.messages import ModelCard
from rustinfer.protocol.sampling import MAX_LOGPROBS, ParameterError, SamplingParams

from .errors import bad_request

MAX_STOPS = 4
_SHOWN = 200  # characters of a complaint that reach the client
Request = TypeVar("Request", bound="Generation")


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


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Generation(BaseModel):
    """None stands for a field left out. Ranges that `SamplingParams` checks are not repeated here."""

    model_config = ConfigDict(strict=True, extra="allow")

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
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_stop)] = []
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def wants_running_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.continuous_usage_stats)

    def sampling(self, card: ModelCard, *, max_tokens: int, logprobs: int | None) -> SamplingParams:
        """The checkpoint's defaults, then what the request says. Raises ApiError 400 naming the field."""
        names = SamplingParams.names()
        chosen = {k: v for k, v in card.defaults.items() if k in names - {"max_tokens", "n", "logprobs"}}
        chosen |= {k: v for k in names & type(self).model_fields.keys() if (v := getattr(self, k)) is not None}
        try:
            params = SamplingParams(**{**chosen, "max_tokens": max_tokens, "logprobs": logprobs})  # type: ignore[arg-type]
        except ParameterError as e:
            raise bad_request(f"{e}.", e.param) from None
        for token in params.stop_token_ids:
            if token >= card.vocab_size:
                raise bad_request(f"stop_token_ids holds {token}, which is out of vocabulary.", "stop_token_ids")
        return params


def check_logprobs(param: str, count: int | None) -> None:
    """Before anything is sent, since the limit must answer 400 when streamed too."""
    if count is not None and not 0 <= count <= MAX_LOGPROBS:
        raise bad_request(f"{param} must be between 0 and {MAX_LOGPROBS}.", param)


def validated(kind: type[Request], body: dict[str, Any], refused: Mapping[str, tuple[Any, ...]]) -> Request:
    """The request in `body`. Raises ApiError 400 that names the field at fault.

    `refused` holds the fields of the dialect that are not honoured here, with the values that ask for nothing.
    """
    for name, neutral in refused.items():
        value = body.get(name)
        if value is not None and not any(type(value) is type(n) and value == n for n in neutral):
            raise bad_request(f"{name} is not supported by this server.", name, "unsupported_parameter")
    try:
        request = kind.model_validate(body)
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        param = _path(first["loc"])
        text = str(first["msg"]).removeprefix("Value error, ")
        raise bad_request(f"{param}: {text}"[:_SHOWN] + ".", param) from None
    if request.stream_options is not None and not request.stream:
        raise bad_request("stream_options is only allowed when stream is true.", "stream_options")
    return request


def ignored(request: Generation, refused: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Names that nobody here knows: allowed, and said so in the header X-Ignored-Params."""
    unknown = sorted((request.model_extra or {}).keys() - refused.keys())
    return [name for name in unknown if name.isascii() and name.isprintable() and len(name) <= 64][:32]


def _path(loc: tuple[int | str, ...]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path[:_SHOWN]


COMMON_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "best_of": (1,),
    "cache_salt": (),
    "ebnf": (),
    "grammar": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "json_schema": (),
    "kv_transfer_params": (),
    "length_penalty": (1, 1.0),
    "logit_bias": ({},),
    "lora_path": (),
    "priority": (0,),
    "prompt_logprobs": (),
    "regex": (),
    "repetition_detection": (),
    "response_format": ({"type": "text"},),
    "return_token_ids": (False,),
    "stop_regex": ([],),
    "structured_outputs": (),
    "thinking_token_budget": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
}
