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
SPOKEN: Form = {
    "anyOf": [
        {"required": ["content"], "properties": {"content": {"not": {"type": "null"}}}},
        {
            "required": ["tool_calls"],
            "properties": {"role": {"const": "assistant"}, "tool_calls": {"type": "array", "minItems": 1}},
        },
    ]
}
MESSAGES: Form = {"type": "array", "items": {"$ref": "#/components/schemas/Message"}, "minItems": 1}
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
_TEXT_PART: Form = {
    "type": "object",
    "properties": {"type": {"enum": ["input_text", "output_text", "text"]}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
_SAID: Form = {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]}
_STRING: Form = {"type": "string"}


def _item(kind: str, required: list[str], **properties: Form) -> Form:
    return {"type": "object", "properties": {"type": {"const": kind}, **properties}, "required": required}


_ROLES: Form = {"enum": ["user", "assistant", "system", "developer"]}
INPUT: Form = {
    "anyOf": [
        _STRING,
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "anyOf": [
                    _item("message", ["role", "content"], role=_ROLES, content=_SAID),
                    _item(
                        "function_call",
                        ["type", "call_id", "name", "arguments"],
                        call_id=_STRING,
                        name=_STRING,
                        arguments=_STRING,
                    ),
                    _item("function_call_output", ["type", "call_id", "output"], call_id=_STRING, output=_SAID),
                    _item("reasoning", ["type"]),
                ]
            },
        },
    ]
}
SCHEMA: Form = {
    "description": "A JSON schema, or the text of one",
    "anyOf": [{"type": ["object", "boolean", "null"]}, TEXT],
}
_PART: Form = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
CONTENT: Form = {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}
_GIVEN: Form = {"anyOf": [{"type": ["object", "boolean"]}, TEXT]}
_FORMAT: Form = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"]},
        "description": {"type": ["string", "null"]},
        "schema": _GIVEN,
        "strict": {"type": ["boolean", "null"]},
    },
    "required": ["schema"],
}
RESPONSE_FORMAT: Form = {
    "anyOf": [
        {"type": "object", "properties": {"type": {"const": "text"}}, "required": ["type"]},
        {
            "type": "object",
            "properties": {"type": {"const": "json_object"}, "schema": {"type": "null"}},
            "required": ["type"],
        },
        {
            "type": "object",
            "properties": {
                "type": {"enum": ["json_object", "json_schema"]},
                "schema": _GIVEN,
                "json_schema": {"type": "null"},
            },
            "required": ["type", "schema"],
        },
        {
            "type": "object",
            "properties": {"type": {"const": "json_schema"}, "json_schema": _FORMAT, "schema": {"type": "null"}},
            "required": ["type", "json_schema"],
        },
    ]
}
_FORMS: dict[str, Form] = {
    "json": {"type": ["object", "string", "boolean"]},
    "regex": TEXT,
    "choice": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 1024},
    "grammar": TEXT,
    "json_object": {"const": True},
}
STRUCTURED_OUTPUTS: Form = {
    "type": "object",
    "properties": {name: {"anyOf": [form, {"type": "null"}]} for name, form in _FORMS.items()}
    | {"json_object": {"type": ["boolean", "null"]}},
    "additionalProperties": False,
    "oneOf": [{"required": [name], "properties": {name: form}} for name, form in _FORMS.items()],
}
