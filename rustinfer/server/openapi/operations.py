"""What can be asked, by path and method: the other half of the route table."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from ..chat_request import ChatRequest
from ..completion_request import CompletionRequest
from ..embeddings import EmbeddingRequest
from ..responses.request import Listing, ResponseRequest
from ..tokens import DetokenizeRequest, TokenizeRequest
from . import facts, replies


@dataclass(frozen=True)
class Operation:
    """`chunk` is what the events of a stream hold, where the answer can be one; `media` where it is no JSON."""

    summary: str
    reply: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    chunk: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    media: str = "application/json"


_TOKENIZE = Operation("The tokens of a text or of a chat's prompt", facts.Tokens, TokenizeRequest)
_DETOKENIZE = Operation("The text of tokens", facts.Text, DetokenizeRequest)
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        "Continue a conversation", replies.ChatCompletion, ChatRequest, replies.ChatChunk
    ),
    ("POST", "/v1/completions"): Operation(
        "Continue a text", replies.TextCompletion, CompletionRequest, replies.TextCompletion
    ),
    ("POST", "/v1/embeddings"): Operation("Texts as vectors", facts.Embeddings, EmbeddingRequest),
    ("POST", "/v1/responses"): Operation("Make a response", replies.Response, ResponseRequest, BaseModel),
    ("GET", "/v1/responses/{id}"): Operation("A stored response", replies.Response),
    ("DELETE", "/v1/responses/{id}"): Operation("Forget a stored response", facts.Deleted),
    ("POST", "/v1/responses/{id}/cancel"): Operation("Cancel a response in the background", replies.Response),
    ("GET", "/v1/responses/{id}/input_items"): Operation(
        "The conversation before a response", facts.Items, query=Listing
    ),
    ("POST", "/v1/responses/input_tokens"): Operation(
        "How many tokens a response's prompt has", facts.InputTokens, ResponseRequest
    ),
    ("POST", "/v1/chat/completions/input_tokens"): Operation(
        "How many tokens a chat's prompt has", facts.InputTokens, ChatRequest
    ),
    ("POST", "/tokenize"): _TOKENIZE,
    ("POST", "/v1/tokenize"): _TOKENIZE,
    ("POST", "/detokenize"): _DETOKENIZE,
    ("POST", "/v1/detokenize"): _DETOKENIZE,
    ("GET", "/tokenizer_info"): Operation("The tokenizer's special tokens and chat template", facts.TokenizerInfo),
    ("GET", "/v1/models"): Operation("The served models", facts.Models),
    ("GET", "/v1/models/{id}"): Operation("One served model; its name may have slashes", facts.Model),
    ("GET", "/v1/ops"): Operation("Which kernel runs where, and why no other", facts.Ops),
    ("GET", "/health"): Operation("Whether the engine works", facts.Health, query=facts.Verbose),
    ("GET", "/livez"): Operation("Whether this process answers", facts.Status),
    ("GET", "/readyz"): Operation("Whether a request would be run now", facts.Ready),
    ("GET", "/metrics"): Operation("For Prometheus", media="text/plain"),
    ("GET", "/version"): Operation("Versions of the server and its engine", facts.Version),
    ("GET", "/openapi.json"): Operation("This document", BaseModel),
    ("GET", "/"): Operation("A page to chat in", media="text/html"),
}
