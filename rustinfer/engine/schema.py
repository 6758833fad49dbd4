"""A client's JSON schema as the grammar takes it: what it leaves open, a small model would lose itself in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_ONE = ("items", "additionalProperties", "contains")
_LISTS = ("anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")
_OPENING = {"additionalProperties", "patternProperties"}
_COMBINING = {"allOf", "not", "if", "dependentSchemas", "unevaluatedProperties", "$dynamicRef"}


def narrowed(text: str) -> str:
    """The schema with fixed white space, and no properties but those that it names, unless it says otherwise.

    What fits it fits `text` too. Raises ValueError, TypeError, AttributeError or RecursionError where `text` is no
    schema.
    """
    found = json.loads(text)
    if found is True:
        return text
    shut = found if any(map(_combines, _parts(found))) else _shut(found)
    return json.dumps({**shut, "x-guidance": {**SPACING, **found.get("x-guidance", {})}})


def _shut(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = {
        **schema,
        **{key: _shut(schema[key]) for key in _ONE if key in schema},
        **{key: [_shut(part) for part in schema[key]] for key in _LISTS if key in schema},
        **{key: {name: _shut(part) for name, part in schema[key].items()} for key in _MAPS if key in schema},
    }
    named = schema.get("properties")
    if named is not None and not _OPENING & schema.keys() and not _wants_more(schema, named):
        made["additionalProperties"] = False
    return made


def _wants_more(schema: dict[str, Any], named: dict[str, Any]) -> bool:
    return not set(schema.get("required", ())) <= named.keys() or schema.get("minProperties", 0) > len(named)


def _combines(schema: dict[str, Any]) -> bool:
    """Whether an object has to fit more than one list of properties: shutting one would shut out the other's."""
    return bool(_COMBINING & schema.keys() or ("properties" in schema and {"anyOf", "oneOf", "$ref"} & schema.keys()))


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        inner = [schema[key] for key in _ONE if key in schema]
        inner += [part for key in _LISTS for part in schema.get(key, ())]
        inner += [part for key in _MAPS for part in schema.get(key, {}).values()]
        for part in inner:
            yield from _parts(part)
