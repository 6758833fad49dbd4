"""JSON schemas of fields that are checked by code: what those checks take."""

from __future__ import annotations

from typing import Any

Form = dict[str, Any]


def _object(required: list[str], **properties: Form) -> Form:
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Form, **limits: int) -> Form:
    return {"type": "array", "items": items, **limits}


_STRING: Form = {"type": "string"}
_NULL: Form = {"type": "null"}
TEXT: Form = {"type": "string", "minLength": 1}
TOKEN: Form = {"type": "integer", "minimum": 0}
TOKENS = _list(TOKEN, minItems=1)
STOP: Form = {"anyOf": [TEXT, _list(TEXT, maxItems=4), _NULL]}
LOGIT_BIAS: Form = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]{1,10}$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    "maxProperties": 1024,
}
PROMPT: Form = {"anyOf": [TEXT, TOKENS, _list(TEXT, minItems=1, maxItems=256), _list(TOKENS, minItems=1, maxItems=256)]}
SPOKEN: Form = {
    "anyOf": [
        {"required": ["content"], "properties": {"content": {"not": _NULL}}},
        {
            "required": ["tool_calls"],
            "properties": {"role": {"const": "assistant"}, "tool_calls": {"type": "array", "minItems": 1}},
        },
    ]
}
MESSAGES = _list({"$ref": "#/components/schemas/Message"}, minItems=1)
STREAMED: Form = {
    "if": {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}},
    "then": {"required": ["stream"], "properties": {"stream": {"const": True}}},
}
TOKENIZED: Form = {
    "oneOf": [
        {"required": ["prompt"], "properties": {"prompt": {"type": "string", "minLength": 1}}},
        {"required": ["messages"], "properties": {"messages": {"type": "array", "minItems": 1}}},
    ]
}
_TEXT_PART = _object(["type", "text"], type={"enum": ["input_text", "output_text", "text"]}, text=_STRING)
_SAID: Form = {"anyOf": [_STRING, _list(_TEXT_PART)]}
_ROLES: Form = {"enum": ["user", "assistant", "system", "developer"]}
_CALL = {"call_id": _STRING, "name": _STRING, "arguments": _STRING}
_ITEM: Form = {
    "anyOf": [
        _object(["role", "content"], type={"enum": ["message", None]}, role=_ROLES, content=_SAID),
        _object(["id"], type={"enum": ["item_reference", None]}, id=_STRING, role={"not": {}}),
        _object(["type", *_CALL], type={"const": "function_call"}, **_CALL),
        _object(["type", "call_id", "output"], type={"const": "function_call_output"}, call_id=_STRING, output=_SAID),
        _object(["type"], type={"const": "reasoning"}),
    ]
}
INPUT: Form = {"anyOf": [_STRING, {"type": "array", "minItems": 1, "items": _ITEM}]}
SCHEMA: Form = {
    "description": "A JSON schema, or the text of one",
    "anyOf": [{"type": ["object", "boolean", "null"]}, TEXT],
}
_PART = _object(["type", "text"], type={"const": "text"}, text=_STRING)
CONTENT: Form = {"anyOf": [_STRING, _list(_PART), _NULL]}
_GIVEN: Form = {"anyOf": [{"type": ["object", "boolean"]}, TEXT]}
_MAYBE: Form = {"type": ["string", "null"]}
_FORMAT = _object(["schema"], name=_MAYBE, description=_MAYBE, schema=_GIVEN, strict={"type": ["boolean", "null"]})
_TAG = _object(["begin", "schema", "end"], begin=_STRING, schema={"type": ["object", "boolean"]}, end=_STRING)
_TAGS: dict[str, Form] = {"structures": _list(_TAG, minItems=1, maxItems=128), "triggers": _list(TEXT, minItems=1)}
RESPONSE_FORMAT: Form = {
    "anyOf": [
        _object(["type"], type={"const": "text"}),
        _object(["type"], type={"const": "json_object"}, schema=_NULL),
        _object(["type", "schema"], type={"enum": ["json_object", "json_schema"]}, schema=_GIVEN, json_schema=_NULL),
        _object(["type", "json_schema"], type={"const": "json_schema"}, json_schema=_FORMAT, schema=_NULL),
        _object(["type", *_TAGS], type={"const": "structural_tag"}, **_TAGS),
    ]
}
_FORMS: dict[str, Form] = {
    "json": {"type": ["object", "string", "boolean"]},
    "regex": TEXT,
    "choice": _list(TEXT, minItems=1, maxItems=1024),
    "grammar": TEXT,
    "json_object": {"const": True},
    "structural_tag": {"anyOf": [TEXT, _object([*_TAGS], **_TAGS)]},
}
STRUCTURED_OUTPUTS: Form = {
    "type": "object",
    "properties": {name: {"anyOf": [form, {"type": "null"}]} for name, form in _FORMS.items()}
    | {"json_object": {"type": ["boolean", "null"]}},
    "additionalProperties": False,
    "oneOf": [{"required": [name], "properties": {name: form}} for name, form in _FORMS.items()],
}
