"""Fifty JSON schemas of the kinds that people ask for: nested, optional and required, bounded and recursive."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def record(**properties: Any) -> Schema:
    """An object with exactly these properties."""
    required = list(properties)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def array(items: Any, least: int = 0, most: int = 4) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


TEXT: Schema = {"type": "string", "maxLength": 20}
WORD: Schema = {"type": "string", "pattern": "^[a-z]{1,8}$"}
WHOLE: Schema = {"type": "integer"}
SMALL: Schema = {"type": "integer", "minimum": 0, "maximum": 99}
REAL: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}
NOTHING: Schema = {"type": "null"}
COLOUR: Schema = {"enum": ["red", "green", "blue"]}
PERSON = record(name=TEXT, age=SMALL)

SCHEMAS: list[Schema] = [
    TRUTH,
    NOTHING,
    SMALL,
    COLOUR,
    WORD,
    TEXT,
    {"const": {"fixed": [1, 2, "three"]}},
    {"type": ["integer", "null"], "minimum": -5, "maximum": 5},
    {"enum": [1, "two", None, True, [4], {"five": 6}]},
    {"type": "string", "minLength": 5, "maxLength": 10},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "email", "maxLength": 40},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "string", "pattern": "^(yes|no|maybe)$"},
    {"type": "integer", "minimum": 1000, "maximum": 9999},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    record(ok=TRUTH),
    record(name=TEXT),
    record(name=WORD, age=SMALL),
    record(x=REAL, y=REAL),
    record(a=WHOLE, b=WHOLE, c=WHOLE),
    record(colour=COLOUR, on=TRUTH, level=SMALL),
    record(nothing=NOTHING, word=WORD),
    record(first=TEXT, last=TEXT, initials={"type": "string", "pattern": "^[A-Z]{2}$"}),
    record(person=PERSON),
    record(one=record(two=record(three=SMALL))),
    array(SMALL),
    array(WORD, 1, 3),
    array(TRUTH, 3, 3),
    array(COLOUR, 2, 5),
    array(PERSON, 1, 2),
    array(array(SMALL, 2, 2), 2, 2),
    record(tags=array(WORD, 0, 3), total=SMALL),
    record(points=array(record(x=SMALL, y=SMALL), 1, 3)),
    {"type": "array", "prefixItems": [SMALL, WORD, TRUTH], "items": False, "minItems": 3},
    {"type": "object", "properties": {"a": SMALL, "b": WORD}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "properties": {"a": SMALL, "b": WORD, "c": TRUTH}, "additionalProperties": False},
    {"type": "object", "additionalProperties": SMALL, "maxProperties": 3, "minProperties": 0},
    {"anyOf": [SMALL, WORD]},
    {"anyOf": [record(kind={"const": "cat"}, lives=SMALL), record(kind={"const": "dog"}, good=TRUTH)]},
    record(value={"anyOf": [NOTHING, SMALL, array(TRUTH, 0, 2)]}),
    {"$ref": "#/$defs/point", "$defs": {"point": record(x=SMALL, y=SMALL)}},
    record(a={"$ref": "#/properties/b"}, b=COLOUR),
    {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": record(value=SMALL, children=array({"$ref": "#/$defs/tree"}, 0, 1))},
    },
    record(
        name={"enum": ["get_weather"]},
        arguments=record(city=TEXT, unit={"enum": ["C", "F"]}, days={"type": "integer", "minimum": 1, "maximum": 7}),
    ),
    record(
        id={"type": "integer", "minimum": 1, "maximum": 999},
        title=TEXT,
        price={"type": "number", "minimum": 0, "maximum": 1000},
        tags=array(COLOUR, 0, 2),
        stock=record(warehouse=WORD, amount=SMALL),
    ),
]
