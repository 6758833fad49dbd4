"""Spans of a small application, kept in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from rustinfer_opentelemetry import Traced

from rustinfer.errors import UserError
from rustinfer.server.middleware import chosen

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answering(status: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"data: two\n\n"})

    return app


def spans(status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> tuple[Any, list[Any]]:
    kept, sent = InMemorySpanExporter(), []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "scheme": "http", "headers": headers}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Traced(answering(status), provider)({**scope, "state": {"request_id": "r1"}}, None, send))
    (span,) = kept.get_finished_spans()
    return span, sent


def test_a_span_tells_of_the_request_and_not_of_its_text() -> None:
    span, sent = spans()
    assert (span.name, span.kind) == ("POST /v1/completions", SpanKind.SERVER)
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/completions",
        "url.scheme": "http",
        "rustinfer.request_id": "r1",
        "http.response.status_code": 200,
    }
    assert [event.name for event in span.events] == ["first byte"]
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * 2
    assert "one" not in span.to_json()


def test_it_continues_the_clients_trace() -> None:
    span, _ = spans(headers=((b"traceparent", PARENT.encode()),))
    assert f"{span.parent.span_id:016x}" == PARENT.split("-")[2]
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]


@pytest.mark.parametrize(("status", "code"), [(400, StatusCode.UNSET), (503, StatusCode.ERROR)])
def test_the_servers_faults_are_errors(status: int, code: StatusCode) -> None:
    assert spans(status)[0].status.status_code is code


def test_the_server_finds_it_by_name() -> None:
    (found,) = chosen(["opentelemetry"])
    assert found.cls is Traced
    with pytest.raises(UserError, match="installed: opentelemetry"):
        chosen(["other"])
