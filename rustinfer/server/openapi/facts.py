"""The shapes of what the other endpoints answer, and of every error."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """The one shape of every answer from 400 on."""

    error: ErrorDetail


class Status(BaseModel):
    status: Literal["ok"]


class Health(Status):
    failed_plugins: dict[str, str] = {}


class Verbose(BaseModel):
    verbose: str | None = None


class Ready(Status):
    heartbeat_age_seconds: float


class Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: None
    max_model_len: int
    permission: list[dict[str, Any]] = Field(max_length=0, description="there for clients that look for it")


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class OpBinding(BaseModel):
    site: str
    op: str
    kernel: str
    refusals: dict[str, str]


class Ops(BaseModel):
    object: Literal["list"]
    model: str
    device: str
    dtype: str
    fingerprint: str
    data: list[OpBinding]


class EngineVersion(BaseModel):
    version: str
    fingerprint: str


class Version(BaseModel):
    version: str
    protocol: int
    engine: EngineVersion | None


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Tokens(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str | None] | None


class TokenizerInfo(BaseModel):
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    chat_template: str | None
    model_max_length: int


class Text(BaseModel):
    prompt: str


class InputTokens(BaseModel):
    object: Literal["chat.completion.input_tokens", "response.input_tokens"]
    input_tokens: int


class Deleted(BaseModel):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class Items(BaseModel):
    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
