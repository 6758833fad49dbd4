"""From a body to a checked request: what is refused, what is ignored, and how a mistake is named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from heapq import nsmallest
from itertools import chain
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from .errors import bad_request

log = logging.getLogger(__name__)
MOST_TOLD = 256
MOST_NAMED = 32
_TOLD: set[str] = set()
"""Unknown fields that the log has told of: each once, and not without end."""
_SHOWN = 200  # characters of a complaint that reach the client
LABELS = ("user", "safety_identifier", "prompt_cache_key", "metadata")
"""What a client may say of a request without any effect on it."""
Request = TypeVar("Request", bound=BaseModel)
Refused = Mapping[str, tuple[Any, ...]]
"""Fields of the dialect that are not honoured here, with the values that ask for nothing."""

COMMON_REFUSED: Refused = {
    "custom_logit_processor": (),
    "custom_params": (),
    "grammar": (),
    "include_reasoning": (True,),
    "kv_transfer_params": (),
    "length_penalty": (1, 1.0),
    "logits_processors": ([],),
    "lora_path": (),
    "mm_processor_kwargs": ({},),
    "no_stop_trim": (False,),
    "repetition_detection": (),
    "return_hidden_states": (False,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "separate_reasoning": (True,),
    "session_params": (),
    "spaces_between_special_tokens": (True,),
    "prompt_embeds": (),
    "stop_regex": ([],),
    "store": (False,),
    "stream_reasoning": (True,),
    "structural_tag": (),
    "thinking_token_budget": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
}


class Strict(BaseModel):
    """A part of a body: nothing is coerced, and fields that nobody knows change nothing."""

    model_config = ConfigDict(strict=True, extra="ignore")


def validated(kind: type[Request], body: dict[str, Any], refused: Refused) -> Request:
    """The request in `body`. Raises ApiError 400 that names the field at fault."""
    for name, neutral in refused.items():
        value = body.get(name)
        if value is not None and not any(type(value) is type(n) and value == n for n in neutral):
            raise bad_request(f"{name} is not supported by this server.", name, "unsupported_parameter")
    try:
        request = kind.model_validate(body)
    except ValidationError as e:
        errors = e.errors(include_url=False, include_context=False, include_input=False)
        # Of a field that may be one of several things, what comes closest to one of them.
        closest = max((it for it in errors if it["loc"][:1] == errors[0]["loc"][:1]), key=_closeness)
        param = _path(closest["loc"], body)
        text = str(closest["msg"]).removeprefix("Value error, ")
        raise bad_request(f"{param}: {text}"[:_SHOWN] + ".", param) from None
    if getattr(request, "stream_options", None) is not None and not getattr(request, "stream", None):
        raise bad_request("stream_options is only allowed when stream is true.", "stream_options")
    return request


def ignored(request: BaseModel, refused: Refused) -> list[str]:
    """Names that change nothing: unknown ones, and labels. Allowed, and said so in the header X-Ignored-Params.

    The first of them: a body may have a million.
    """
    extra = request.model_extra or {}
    unknown = (name for name in extra if name not in refused and _presentable(name))
    labels = (name for name in LABELS if name not in extra and getattr(request, name, None) is not None)
    found = nsmallest(MOST_NAMED, chain(unknown, labels))
    new = [name for name in found if name in extra and name not in _TOLD]
    if new and len(_TOLD) < MOST_TOLD:
        _TOLD.update(new)
        log.info("requests have fields that nobody here knows: %s", ", ".join(new))
    return found


def essence(body: dict[str, Any]) -> dict[str, Any]:
    """A checked body without the values of fields that no request here has, and without most of their names."""
    known = _known()
    unknown = nsmallest(MOST_NAMED, (name for name in body if name not in known and _presentable(name)))
    return {name: value for name, value in body.items() if name in known} | dict.fromkeys(unknown)


def _known() -> set[str]:
    kinds, names = [BaseModel], set[str]()
    while kinds:
        kind = kinds.pop()
        names |= {each for name, field in kind.model_fields.items() for each in (name, field.alias or name)}
        kinds += kind.__subclasses__()
    return names


def _presentable(name: str) -> bool:
    return len(name) <= 64 and name.isascii() and name.isprintable() and "," not in name


def _closeness(error: ErrorDetails) -> tuple[int, bool]:
    return len(error["loc"]), not error["type"].endswith("_type")


def _path(loc: tuple[int | str, ...], body: Any) -> str:
    """Where in the body; pydantic's own names for the members of a union are left out."""
    path, value = "", body
    for at, part in enumerate(loc):
        if isinstance(part, int):
            path += f"[{part}]"
        elif isinstance(value, dict) and (part in value or at == len(loc) - 1):
            path += f".{part}" if path else part
        else:
            continue
        try:
            value = value[part]
        except (TypeError, LookupError):
            value = None
    return path[:_SHOWN]
