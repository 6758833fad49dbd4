"""What the scripts here share: checks by name, one line of JSON for each.

Runs in the environment of a client, beside its script: it imports nothing but the standard library.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

MODEL = "smollm2-135m-instruct"
QUESTION = "Name the capital of France."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
ABOUT = "Ada is 36 years old. Answer with her name and age as JSON."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def run(checks: Mapping[str, Callable[[], object]]) -> None:
    """Run all of them and print what each saw; one that raises has failed, and the others run all the same."""
    for name, check in checks.items():
        start = time.perf_counter()
        try:
            ok, seen = True, str(check())
        except Exception as error:  # whatever a client raises is a result here
            ok, seen = False, f"{type(error).__name__}: {error}"
        line = {"check": name, "ok": ok, "seen": " ".join(seen.split())[:200], "seconds": time.perf_counter() - start}
        print(json.dumps(line), flush=True)
    sys.exit(0)


def person(value: object) -> str:
    """The JSON of one that fits PERSON; raises where it does not."""
    found = json.loads(value) if isinstance(value, str) else value
    assert isinstance(found, dict), found
    assert set(found) == {"name", "age"}, found
    assert isinstance(found["name"], str)
    assert isinstance(found["age"], int)
    return json.dumps(found)


def names_paris(text: str | None) -> str:
    assert text, "the answer is empty"
    assert "Paris" in text, text
    return text
