"""Puts the document together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rustinfer.protocol.sampling import bounds
from rustinfer.version import __version__

from ..auth import PUBLIC
from .facts import Error
from .operations import OPERATIONS, Operation

_REF = "#/components/schemas/{model}"


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    schemas = _schemas()
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation)
    schemes = {
        "key": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "rustinfer", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": schemes},
        "security": [{"key": []}, {"header": []}],
    }


def _schemas() -> dict[str, Any]:
    bodies = {o.body for o in OPERATIONS.values() if o.body}
    replies = {m for o in OPERATIONS.values() for m in (o.reply, o.chunk) if m not in (None, BaseModel)} | {Error}
    wanted = [(model, "validation") for model in sorted(bodies | replies, key=lambda m: m.__qualname__)]
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


def _operation(method: str, path: str, operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{method.lower()}{path.replace('/', '_').replace('{', '').replace('}', '').replace('.', '_')}",
        "summary": operation.summary,
        "parameters": [],
        "responses": {"200": _reply(operation), "default": _content("An error", Error)},
    }
    if "{id}" in path:
        found["parameters"].append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    if operation.query:
        asked = operation.query.model_json_schema()["properties"].items()
        found["parameters"] += [{"name": name, "in": "query", "schema": schema} for name, schema in asked]
    if operation.body:
        found["requestBody"] = {"required": True, **_content("", operation.body)}
        del found["requestBody"]["description"]
    if path in PUBLIC:
        found["security"] = []
    return found


def _reply(operation: Operation) -> dict[str, Any]:
    if operation.reply is None:
        return {"description": operation.summary, "content": {operation.media: {"schema": {"type": "string"}}}}
    reply = _content(operation.summary, operation.reply)
    if operation.chunk is not None:
        # An event's data is JSON, or the word [DONE] at the end: there is no schema for the stream as a whole.
        reply["content"]["text/event-stream"] = {}
        of = "" if operation.chunk is BaseModel else f" of {operation.chunk.__name__}"
        reply["description"] += f"; where stream is true, server-sent events{of}"
    return reply


def _content(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"type": "object"} if model is BaseModel else {"$ref": _REF.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
