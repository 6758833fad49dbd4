"""Text to token ids and back, as vLLM has it, and how many a request would have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from . import chat
from .errors import JSON, bad_request
from .fields import validated
from .gate import usual_bytes
from .generation import TokenId
from .large import pieces
from .openai import understood
from .openapi.forms import MESSAGES, TOKENIZED
from .responses.prepare import prepare as prepare_response
from .responses.prepare import read
from .served import Served

MAX_IDS = 1 << 20


class TokenizeRequest(BaseModel):
    """Either `prompt`, or `messages` and what else a chat may have."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra=TOKENIZED)

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Any], WithJsonSchema(MESSAGES)] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    model: str | None = None
    tokens: Annotated[list[TokenId], Field(max_length=MAX_IDS)]


async def tokenize(request: Request) -> Response:
    return await understood(request, _tokenize, runs=False)


async def detokenize(request: Request) -> Response:
    return await understood(request, _detokenize, runs=False)


async def of_chat(request: Request) -> Response:
    """How many tokens a chat's prompt has."""
    return await understood(request, _of_chat, runs=False)


async def of_response(request: Request) -> Response:
    """How many tokens a response's prompt has, without what it continues."""
    return await understood(request, _of_response, runs=False)


def _tokenize(body: dict[str, Any], served: Served) -> Response:
    """Written here, off the event loop: the ids may be many."""
    asked = validated(TokenizeRequest, body, {})
    if (asked.prompt is None) == (asked.messages is None):
        raise bad_request("Either prompt or messages must be given.", "prompt")
    if asked.prompt is not None:
        if len(asked.prompt) > (most := usual_bytes(served)):
            raise bad_request(f"prompt may have at most {most} characters.", "prompt")
        special = asked.add_special_tokens is not False
        ids = served.encode(asked.prompt, "prompt", add_special_tokens=special, to_run=False)
    else:
        ids = _chat_ids({**body, "model": asked.model or served.card.id}, served)
    strings = [served.tokenizer.token(id) for id in ids] if asked.return_token_strs else None
    found = {"count": len(ids), "max_model_len": served.card.context, "tokens": ids, "token_strs": strings}
    return Response(b"".join(pieces(found)), media_type=JSON.media_type)


def _detokenize(body: dict[str, Any], served: Served) -> Response:
    asked = validated(DetokenizeRequest, body, {})
    if asked.tokens:
        served.check_ids(asked.tokens, "tokens")
    return JSON({"prompt": served.tokenizer.decode(asked.tokens, skip_special_tokens=False)})


def _chat_ids(body: dict[str, Any], served: Served) -> list[int]:
    known = {name: value for name, value in body.items() if name not in ("add_special_tokens", "return_token_strs")}
    return chat.prepare(known, served).prompts[0]


def _of_chat(body: dict[str, Any], served: Served) -> Response:
    return JSON({"object": "chat.completion.input_tokens", "input_tokens": len(_chat_ids(body, served))})


def _of_response(body: dict[str, Any], served: Served) -> Response:
    prepared = prepare_response(read(body), [], served, lambda response, sent: None)
    return JSON({"object": "response.input_tokens", "input_tokens": len(prepared.prompts[0])})
