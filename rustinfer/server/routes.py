"""What can be asked, by path and method: what answers it, and what /openapi.json says of it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import embeddings, info, openai, page, tokens
from .chat_request import ChatRequest
from .completion_request import CompletionRequest
from .embeddings import EmbeddingRequest
from .errors import JSON
from .openapi import facts, replies
from .openapi.document import Operation, described
from .responses import endpoints as responses
from .responses.request import Listing, ResponseRequest
from .tokens import DetokenizeRequest, TokenizeRequest


async def openapi(_: Request) -> Response:
    return JSON(document())


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, of all operations."""
    return described(OPERATIONS)


_TOKENS = "The tokens of a text or of a chat's prompt", facts.Tokens, TokenizeRequest
_TEXT = "The text of tokens", facts.Text, DetokenizeRequest
OPERATIONS = (
    Operation(
        "POST", "/v1/chat/completions", openai.chat_completions,
        "Continue a conversation", replies.ChatCompletion, ChatRequest, replies.ChatChunk,
    ),
    Operation(
        "POST", "/v1/completions", openai.text_completions,
        "Continue a text", replies.TextCompletion, CompletionRequest, replies.TextCompletion,
    ),
    Operation(
        "POST", "/v1/embeddings", embeddings.create, "Texts as vectors", facts.Embeddings, EmbeddingRequest,
    ),
    Operation(
        "POST", "/v1/responses", responses.create,
        "Make a response", replies.Response, ResponseRequest, BaseModel,
    ),
    Operation(
        "POST", "/v1/responses/input_tokens", tokens.of_response,
        "How many tokens a response's prompt has", facts.InputTokens, ResponseRequest,
    ),
    Operation("GET", "/v1/responses/{id}", responses.retrieve, "A stored response", replies.Response),
    Operation("DELETE", "/v1/responses/{id}", responses.delete, "Forget a stored response", facts.Deleted),
    Operation(
        "POST", "/v1/responses/{id}/cancel", responses.cancel,
        "Cancel a response in the background", replies.Response,
    ),
    Operation(
        "GET", "/v1/responses/{id}/input_items", responses.input_items,
        "The conversation before a response", facts.Items, query=Listing,
    ),
    Operation(
        "POST", "/v1/chat/completions/input_tokens", tokens.of_chat,
        "How many tokens a chat's prompt has", facts.InputTokens, ChatRequest,
    ),
    Operation("POST", "/tokenize", tokens.tokenize, *_TOKENS),
    Operation("POST", "/v1/tokenize", tokens.tokenize, *_TOKENS),
    Operation("POST", "/detokenize", tokens.detokenize, *_TEXT),
    Operation("POST", "/v1/detokenize", tokens.detokenize, *_TEXT),
    Operation(
        "GET", "/tokenizer_info", info.tokenizer_info,
        "The tokenizer's special tokens and chat template", facts.TokenizerInfo,
    ),
    Operation("GET", "/v1/models", info.models, "The served models", facts.Models),
    Operation("GET", "/v1/models/{id:path}", info.model, "One served model; its name may have slashes", facts.Model),
    Operation("GET", "/v1/ops", info.ops, "Which kernel runs where, and why no other", facts.Ops),
    Operation("GET", "/health", info.health, "Whether the engine works", facts.Health, query=facts.Verbose),
    Operation("GET", "/livez", info.livez, "Whether this process answers", facts.Status),
    Operation("GET", "/readyz", info.readyz, "Whether a request would be run now", facts.Ready),
    Operation("GET", "/metrics", info.metrics, "For Prometheus", media="text/plain"),
    Operation("GET", "/version", info.version, "Versions of the server and its engine", facts.Version),
    Operation("GET", "/openapi.json", openapi, "This document", BaseModel),
    Operation("GET", "/", page.index, "A page to chat in", media="text/html"),
)  # fmt: skip
ROUTES = [Route(each.path, each.endpoint, methods=[each.method]) for each in OPERATIONS]
