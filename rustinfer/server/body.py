"""A request's body: bounded in size and time, and JSON as the standard has it."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from starlette.requests import ClientDisconnect, Request

from .errors import ApiError, bad_request

READ_SECONDS = 30.0


async def read(request: Request, limit: int) -> bytes | bytearray:
    """The whole body. Raises ApiError: 400 for what is no plain JSON, 408 when it dawdles, 413 past `limit` bytes."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise bad_request(
            "The request needs the header Content-Type: application/json.", code="unsupported_content_type"
        )
    if (packed := request.headers.get("content-encoding", "identity").strip().lower()) not in ("", "identity"):
        message = f"The request body must be plain: Content-Encoding {packed[:20]!r} is not supported."
        raise bad_request(message, code="unsupported_content_encoding")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _collect(request, limit)
    except TimeoutError:
        raise ApiError(408, "The request body did not arrive in time.", code="request_timeout") from None
    except ClientDisconnect:
        raise bad_request("The request body is incomplete.") from None


async def _collect(request: Request, limit: int) -> bytearray:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise _too_large(limit)
    return body


def _too_large(limit: int) -> ApiError:
    # The rest is not read, so the connection cannot be used again.
    message = f"The request body is larger than {limit} bytes."
    return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})


def parse(raw: bytes | bytearray) -> dict[str, Any]:
    """The JSON object in `raw`. Raises ApiError 400 for anything else, NaN and lone surrogates among it."""
    unfit: list[str] = []

    def number(text: str) -> float | int:
        """JSON has one kind of number: 5.0 is an integer where one is wanted."""
        value = float(text)
        if not (unfit or math.isfinite(value)):
            unfit.append(text)
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value

    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=number, parse_float=number)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request("The request body holds half of a surrogate pair, which is no text.") from None
    except UnicodeDecodeError:
        raise bad_request("The request body is not UTF-8.") from None
    except json.JSONDecodeError as e:
        raise bad_request(f"The request body is not valid JSON: {e.msg} at line {e.lineno} column {e.colno}.") from None
    except ValueError as e:
        raise bad_request(f"The request body is not valid JSON: {str(e)[:100]}.") from None
    except RecursionError:
        raise bad_request("The request body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise bad_request("The request body must be a JSON object.")
    if unfit:
        param = next((name for name, inner in value.items() if len(name) <= 64 and not _finite(inner)), None)
        message = f"The request body holds {unfit[0][:50]}, which is no JSON number or too large for one."
        raise bad_request(f"{param}: {message}" if param else message, param)
    return value


def _finite(value: Any) -> bool:
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, dict | list):
            rest += part.values() if isinstance(part, dict) else part
        elif isinstance(part, float) and not math.isfinite(part):
            return False
    return True
