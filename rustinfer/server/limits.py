"""What one key may use: requests and tokens a minute, each a bucket that fills evenly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .caller import CALLER
from .errors import ApiError


class Bucket:
    """Holds up to `size`, filled within a minute. Paying may overdraw it: the next one waits until that is made up."""

    def __init__(self, size: int, now: float) -> None:
        self.size, self._level, self._at = size, float(size), now

    def level(self, now: float) -> float:
        """What it holds."""
        self._level = min(self._level + (now - self._at) * self.size / 60, self.size)
        self._at = now
        return self._level

    def pay(self, amount: float, now: float) -> None:
        """Take from it."""
        self._level = self.level(now) - amount

    def wait(self, amount: float, now: float) -> float:
        """Seconds until it holds `amount`; 0 if it does."""
        return max(amount - self.level(now), 0.0) * 60 / self.size


class Limits:
    """The buckets of every caller: as many as there are keys, or one for all where there are none."""

    def __init__(self, requests: int | None, tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = {name: size for name, size in (("requests", requests), ("tokens", tokens)) if size is not None}
        self._clock = clock
        self._buckets: dict[str, dict[str, Bucket]] = {}

    def __bool__(self) -> bool:
        return bool(self._sizes)

    def admit(self, caller: str) -> None:
        """Count a request. Raises ApiError 429 where the caller has used up what a minute gives."""
        now, buckets = self._clock(), self._of(caller)
        for name, bucket in buckets.items():
            if (seconds := bucket.wait(1, now)) > 0:
                raise _exceeded(name, bucket.size, seconds)
        if "requests" in buckets:
            buckets["requests"].pay(1, now)

    def charge(self, caller: str, tokens: int) -> None:
        """Count tokens, known only when they have been used."""
        if "tokens" in self._sizes:
            self._of(caller)["tokens"].pay(tokens, self._clock())

    def headers(self, caller: str) -> dict[str, str]:
        """The x-ratelimit-* headers, as OpenAI has them."""
        now, found = self._clock(), {}
        for name, bucket in self._of(caller).items():
            found[f"x-ratelimit-limit-{name}"] = str(bucket.size)
            found[f"x-ratelimit-remaining-{name}"] = str(max(math.floor(bucket.level(now)), 0))
            found[f"x-ratelimit-reset-{name}"] = f"{bucket.wait(bucket.size, now):.3f}s"
        return found

    def _of(self, caller: str) -> dict[str, Bucket]:
        if caller not in self._buckets:
            now = self._clock()
            self._buckets[caller] = {name: Bucket(size, now) for name, size in self._sizes.items()}
        return self._buckets[caller]


class Limited:
    """ASGI middleware, behind `Auth`: what is posted counts."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not self._limits:
            return await self._app(scope, receive, send)
        caller = CALLER.get()

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._limits.headers(caller))
            await send(message)

        try:
            self._limits.admit(caller)
        except ApiError as error:
            return await error.response()(scope, receive, send_on)
        return await self._app(scope, receive, send_on)


def _exceeded(name: str, size: int, seconds: float) -> ApiError:
    message = f"This key may use {size} {name} a minute and has used them up. Try again later."
    headers = {"Retry-After": str(math.ceil(seconds))}
    return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", headers=headers)
