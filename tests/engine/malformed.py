"""Grammars that are wrong, too large or explosive, by the hundred: the engine must refuse each, or live with it."""

from __future__ import annotations

from random import Random

from rustinfer.protocol.structured import Kind, Structured

GOOD: dict[Kind, tuple[str, ...]] = {
    "json_schema": (
        '{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}}',
        '{"type": "array", "items": {"enum": [1, "two", null]}, "minItems": 1, "maxItems": 5}',
        '{"anyOf": [{"type": "string", "pattern": "^[a-z]+$"}, {"const": {"k": [true, 2.5]}}]}',
    ),
    "regex": (r"[a-z]{2,5}@(\w+\.)+com", r"(yes|no)\s*[.!]?", r"-?\d+(\.\d{1,3})?"),
    "grammar": ('start: expr\nexpr: NUMBER | expr "+" expr\nNUMBER: /[0-9]+/', 'root ::= "a" root | "b"'),
    "choice": ('["yes", "no", "perhaps"]', '["\\u00e9", "\\"quoted\\""]'),
}
HOSTILE = (
    Structured("regex", "(((a{1000}){1000}){1000})"),
    Structured("regex", "(" * 5000 + "a" + ")" * 5000),
    Structured("regex", "(?=a)b"),
    Structured("regex", "|".join(f"{i}{'x' * 9}" for i in range(15_000))),
    Structured("json_schema", '{"$ref": "#"}'),
    Structured("json_schema", '{"$ref": "#/nowhere"}'),
    Structured("json_schema", '{"$ref": "http://localhost:1/schema"}'),
    Structured("json_schema", '{"a":' * 3000 + "1" + "}" * 3000),
    Structured("json_schema", "false"),
    Structured("json_schema", '{"enum": []}'),
    Structured("json_schema", '{"type": "no such type"}'),
    Structured("json_schema", "[" * 100_000),
    Structured("json_schema", '{"properties": [1]}'),
    Structured("grammar", "start: nothing"),
    Structured("grammar", 'start: "a" start'),
    Structured("grammar", "start: a0\n" + "".join(f"a{i}: a{i + 1} a{i + 1}\n" for i in range(60)) + 'a60: "y"'),
    Structured("grammar", "\x00\ud7ff" * 100),
    Structured("choice", "{}"),
    Structured("choice", '[1, ["a"]]'),
)


def forms(count: int, seed: int = 0) -> list[Structured]:
    """The hostile ones, then good ones with characters cut out, doubled, exchanged or made up."""
    luck, found = Random(seed), list(HOSTILE)
    while len(found) < count:
        kind = luck.choice(list(GOOD))
        text = list(luck.choice(GOOD[kind]))
        for _ in range(luck.randint(1, 6)):
            at = luck.randrange(len(text))
            text[at : at + luck.randint(0, 3)] = luck.choice(
                [[], list("({[")[: luck.randint(1, 3)], text[at : at + 9] * 2, [chr(luck.randrange(1, 0x2FF))]]
            )
            text = text or ["x"]
        found.append(Structured(kind, "".join(text)))
    return found
