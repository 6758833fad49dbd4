"""Every error the server answers with, in one nested shape, and nothing of the machine's inside in any of them."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

RETRY_AFTER = "1"


class ApiError(Exception):
    """An answer other than 2xx. `param` names the request's field at fault; `code` is OpenAI's word for the case."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.code = status, message, kind, param, code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        return JSON(self.body(), self.status, self.headers)


class JSON(JSONResponse):
    """Compact JSON; refuses NaN and infinities rather than sending what is no JSON."""

    def render(self, content: Any) -> bytes:
        return dump(content)


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def dump(content: Any) -> bytes:
    return _encode(content).encode()


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str, code: str) -> ApiError:
    headers = {"Retry-After": RETRY_AFTER}
    return ApiError(503, message, kind="unavailable_error", code=code, headers=headers)


def engine_unavailable() -> ApiError:
    return unavailable("The model's engine is not available at the moment. Try again shortly.", "engine_unavailable")


def shutting_down() -> ApiError:
    return unavailable("The server is shutting down. Try again shortly.", "shutting_down")


def internal_error(code: str | None = None) -> ApiError:
    return ApiError(500, "Internal server error", kind="server_error", code=code)


def from_engine(code: str, message: str) -> ApiError:
    """What the engine's `Failed` means to a client. Codes not known here are the server's fault, and say nothing."""
    if code in ("empty_prompt", "out_of_vocabulary", "context_length_exceeded", "cache_too_small", "invalid_request"):
        return bad_request(message, "prompt", code)
    if code in ("invalid_grammar", "grammar_too_complex", "no_tokenizer", "no_token_allowed"):
        return bad_request(message, "structured_outputs", code)
    if code == "draining":
        return shutting_down()
    if code in ("overloaded", "grammar_unavailable"):
        return unavailable(message, code)
    return internal_error(code)


async def on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    texts = {404: "There is nothing at this path.", 405: f"{request.method} is not allowed here."}
    message = texts.get(error.status_code, str(error.detail))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    return ApiError(error.status_code, message, code=code, headers=dict(error.headers or {})).response()
