"""ASGI middleware: one span for each request, from its arrival to its last byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY, START = "http.response.body", "http.response.start"


def provider() -> TracerProvider:
    """Sends in the background, in batches, to where OpenTelemetry's environment variables say."""
    made = TracerProvider(resource=Resource.create({"service.name": "rustinfer"}))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


class Traced:
    """Never changes a request or an answer, and records nothing of their text."""

    def __init__(self, app: App, spans: TracerProvider | None = None) -> None:
        self._app = app
        self._provider = spans or provider()
        self._tracer = self._provider.get_tracer("rustinfer")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}",
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes=_attributes(scope),
        ) as span:
            await self._app(scope, receive, _watched(span, send))
        return None


def _attributes(scope: Scope) -> dict[str, str]:
    found = {"http.request.method": scope["method"], "url.path": scope["path"], "url.scheme": scope["scheme"]}
    if id := scope.get("state", {}).get("request_id"):
        found["rustinfer.request_id"] = id
    return found


def _watched(span: Span, send: Send) -> Send:
    spoken = False

    async def send_on(message: Message) -> None:
        nonlocal spoken
        if message["type"] == START:
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                span.set_status(StatusCode.ERROR)
        elif message["type"] == BODY and not spoken and message.get("body"):
            spoken = True
            span.add_event("first byte")
        await send(message)

    return send_on
