"""JSON schemas of fields that are checked by code: what those checks take."""

from __future__ import annotations

from typing import Any

Form = dict[str, Any]
TEXT: Form = {"type": "string", "minLength": 1}
TOKEN: Form = {"type": "integer", "minimum": 0}
TOKENS: Form = {"type": "array", "items": TOKEN, "minItems": 1}
STOP: Form = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "maxItems": 4}, {"type": "null"}]}
LOGIT_BIAS: Form = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]{1,10}$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    "maxProperties": 1024,
}
PROMPT: Form = {
    "anyOf": [
        TEXT,
        TOKENS,
        {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 256},
        {"type": "array", "items": TOKENS, "minItems": 1, "maxItems": 256},
    ]
}
SCHEMA: Form = {"description": "A JSON schema, or the text of one", "type": ["object", "string", "boolean", "null"]}
_PART: Form = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
CONTENT: Form = {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}
_FORMAT: Form = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "schema": {"type": ["object", "boolean"]},
        "strict": {"type": "boolean"},
    },
    "required": ["schema"],
}
RESPONSE_FORMAT: Form = {
    "anyOf": [
        {"type": "object", "properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"]},
        {
            "type": "object",
            "properties": {"type": {"const": "json_schema"}, "json_schema": _FORMAT},
            "required": ["type", "json_schema"],
        },
    ]
}
STRUCTURED_OUTPUTS: Form = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "properties": {
        "json": {"type": ["object", "string", "boolean"]},
        "regex": TEXT,
        "choice": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1024},
        "grammar": TEXT,
        "json_object": {"const": True},
    },
    "additionalProperties": False,
}
