"""A first look at a client's JSON schema: whether it is one at all. The engine's grammar has the last word."""

from __future__ import annotations

from typing import Any

from .errors import bad_request

TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
MAX_DEPTH = 64
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")


def check_schema(param: str, schema: Any, depth: int = 0) -> None:
    """Raises ApiError 400 naming `param` where a part of `schema` cannot be one."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise bad_request(f"{param}: a JSON schema must be an object.", param)
    if depth > MAX_DEPTH:
        raise bad_request(f"{param}: the JSON schema is nested more than {MAX_DEPTH} deep.", param)
    _check_type(param, schema.get("type", "object"))
    for part in _parts(param, schema):
        check_schema(param, part, depth + 1)


def _check_type(param: str, value: Any) -> None:
    kinds = value if isinstance(value, list) else [value]
    if not kinds or not all(isinstance(kind, str) and kind in TYPES for kind in kinds):
        raise bad_request(f"{param}: a JSON schema's type must be one of {', '.join(sorted(TYPES))}.", param)


def _parts(param: str, schema: dict[str, Any]) -> list[Any]:
    parts = [schema[key] for key in _ONE if key in schema]
    if isinstance(schema.get("items"), list):
        raise bad_request(f"{param}: items must be a schema; for a list of them use prefixItems.", param)
    for key in _LISTS:
        if not isinstance(value := schema.get(key, []), list):
            raise bad_request(f"{param}: {key} must be a list of schemas.", param)
        parts += value
    for key in _MAPS:
        if not isinstance(value := schema.get(key, {}), dict):
            raise bad_request(f"{param}: {key} must be an object of schemas.", param)
        parts += value.values()
    return parts
