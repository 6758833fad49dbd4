"""The OpenAPI document of a table of operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from rustinfer.protocol.sampling import bounds
from rustinfer.version import __version__

from ..auth import PUBLIC
from .facts import Error

_REF = "#/components/schemas/{model}"


@dataclass(frozen=True)
class Operation:
    """`chunk` is what the events of a stream hold, where the answer can be one; `media` where it is no JSON."""

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    summary: str
    reply: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    chunk: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    media: str = "application/json"


def described(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, Any] = {}
    for operation in operations:
        path = operation.path.replace(":path", "")
        paths.setdefault(path, {})[operation.method.lower()] = _operation(path, operation)
    schemes = {
        "key": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "rustinfer", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": _schemas(operations), "securitySchemes": schemes},
        "security": [{"key": []}, {"header": []}],
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    models = {m for o in operations for m in (o.body, o.reply, o.chunk) if m not in (None, BaseModel)} | {Error}
    wanted = [(model, "validation") for model in sorted(models, key=lambda m: m.__qualname__)]
    found: dict[str, Any] = models_json_schema(wanted, ref_template=_REF)[1]["$defs"]  # type: ignore[arg-type]
    for schema in found.values():
        _bound(schema.get("properties", {}), bounds())
    return found


def _bound(properties: dict[str, Any], known: Mapping[str, tuple[float, float]]) -> None:
    """The ranges that `SamplingParams` checks are those of the requests' fields of the same names."""
    for name, (low, high) in known.items():
        for form in properties.get(name, {}).get("anyOf", []):
            if form.get("type") in ("number", "integer"):
                form.setdefault("minimum", low)
                form.setdefault("maximum", high)


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    name = path.replace("/", "_").replace("{", "").replace("}", "").replace(".", "_")
    found: dict[str, Any] = {
        "operationId": operation.method.lower() + name,
        "summary": operation.summary,
        "parameters": [],
        "responses": {"200": _reply(operation), "default": {"description": "An error", "content": _json(Error)}},
    }
    if "{id}" in path:
        found["parameters"].append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if operation.query:
        asked = operation.query.model_json_schema()["properties"].items()
        found["parameters"] += [{"name": name, "in": "query", "schema": schema} for name, schema in asked]
    if operation.body:
        found["requestBody"] = {"required": True, "content": _json(operation.body)}
    if path in PUBLIC:
        found["security"] = []
    return found


def _reply(operation: Operation) -> dict[str, Any]:
    if operation.reply is None:
        return {"description": operation.summary, "content": {operation.media: {"schema": {"type": "string"}}}}
    reply: dict[str, Any] = {"description": operation.summary, "content": _json(operation.reply)}
    if operation.chunk is not None:
        # An event's data is JSON, or the word [DONE] at the end: there is no schema for the stream as a whole.
        reply["content"]["text/event-stream"] = {}
        of = "" if operation.chunk is BaseModel else f" of {operation.chunk.__name__}"
        reply["description"] += f"; where stream is true, server-sent events{of}"
    return reply


def _json(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"type": "object"} if model is BaseModel else {"$ref": _REF.format(model=model.__name__)}
    return {"application/json": {"schema": schema}}
