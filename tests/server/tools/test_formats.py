"""The formats of tool calls: what is found, and that it does not matter how the text is cut."""

from __future__ import annotations

import json
import logging
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustinfer.server import formats as shared
from rustinfer.server.reading import Reader
from rustinfer.server.reasoning import THINK, ReasoningFormat, ReasoningParser
from rustinfer.server.reasoning import formats as thoughts
from rustinfer.server.reasoning import suited as suited_thoughts
from rustinfer.server.tools import Arguments, Begin, Event, Reasoning, Text, ToolFormat, ToolParser
from rustinfer.server.tools import format as module
from rustinfer.server.tools.events import merged
from rustinfer.server.tools.forced import ArgumentsParser, any_of
from rustinfer.server.tools.format import formats, suited

from ...conftest import ROOT

NAMES = frozenset({"f", "get_weather"})
CALL = [Begin("f"), Arguments('{"a": 1}')]
WEATHER = [Begin("get_weather"), Arguments('{"city": "Oslo \\"x\\" }{", "n": [1, {}]}')]
F, W = '{"name": "f", "arguments": {"a": 1}}', '{"name": "get_weather", "arguments": ' + WEATHER[1].text + "}"  # type: ignore[union-attr]

HERMES: list[tuple[str, list[Event]]] = [
    ("Hello", [Text("Hello")]),
    ("  Hello \n", [Text("  Hello \n")]),
    (f"<tool_call>\n{F}\n</tool_call>", CALL),
    (
        f"Let me see.\n<tool_call>{F}</tool_call>\n<tool_call>\n{W}\n</tool_call>",
        [Text("Let me see."), *CALL, *WEATHER],
    ),
    (f"<tool_call>{F}</tool_call>\nDone.", [*CALL, Text("Done.")]),
    (f"<tool_call>{F}", CALL),
    ('<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', CALL),
    ('<tool_call>{"name": "f"}</tool_call>', [Begin("f"), Arguments("{}")]),
    ('<tool_call>{"name": "f", "arguments": null}</tool_call>', [Begin("f"), Arguments("{}")]),
    ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>', CALL),
    ('<tool_call>{"id": 7, "name": "f", "x": [1], "parameters": {"a": 1}}</tool_call>', CALL),
    ('<tool_call>{"name": "f", "arguments": {"a": ', [Begin("f"), Arguments('{"a": ')]),
    ('<tool_call>{"name": "f" oops}</tool_call>', [Begin("f"), Arguments("{}"), Text("oops}</tool_call>")]),
    ('<tool_call>{"name": "unknown", "arguments": {}}', [Text('<tool_call>{"name": "unknown", "arguments": {}}')]),
    ("<tool_call>{broken", [Text("<tool_call>{broken")]),
    ("a <tool_call> is a tag", [Text("a <tool_call> is a tag")]),
    ("1 < 2 <tool", [Text("1 < 2 <tool")]),
    ("<tool_call>", [Text("<tool_call>")]),
    ("", []),
]
LLAMA: list[tuple[str, list[Event]]] = [
    ('{"name": "f", "parameters": {"a": 1}}', CALL),
    (' \n{"name": "f", "parameters": {"a": 1}}', CALL),
    (f"{F}; {W}", [*CALL, *WEATHER]),
    (f"<|python_tag|>{F}", CALL),
    (f"Well: <|python_tag|>{F}", [Text("Well:"), *CALL]),
    ('{"answer": 42}', [Text('{"answer": 42}')]),
    ('{"name": "Ada", "age": 36}', [Text('{"name": "Ada", "age": 36}')]),
    (" An object {} comes", [Text(" An object {} comes")]),
    ("<|python", [Text("<|python")]),
    ("   ", [Text("   ")]),
]
MISTRAL: list[tuple[str, list[Event]]] = [
    (f"[TOOL_CALLS][{F}, {W}]", [*CALL, *WEATHER]),
    (f"[TOOL_CALLS] [{F}]", CALL),
    (f"Yes [TOOL_CALLS]{F}", [Text("Yes"), *CALL]),
    ('[TOOL_CALLS]f[ARGS]{"a": 1}', CALL),
    ('[TOOL_CALLS]f{"a": 1}[TOOL_CALLS]get_weather[CALL_ID]x1[ARGS]' + WEATHER[1].text, [*CALL, *WEATHER]),  # type: ignore[union-attr]
    ("[TOOL_CALLS]g{}", [Text("[TOOL_CALLS]g{}")]),
    ("[1, 2] [TOOL", [Text("[1, 2] [TOOL")]),
    ("[TOOL_CALLS][[{}]]", [Text("[TOOL_CALLS][[{}]]")]),
]
FORCED: list[tuple[str, list[Event]]] = [
    (f"[{F}]", CALL),
    (f"[{F},\n{W}]", [*CALL, *WEATHER]),
    (F[:-5], [Begin("f"), Arguments('{"a"')]),
]
EVERY = [("hermes", *c) for c in HERMES] + [("llama", *c) for c in LLAMA] + [("mistral", *c) for c in MISTRAL]


def read(parser: ToolParser, parts: list[str]) -> list[Event]:
    return merged([e for part in parts for e in parser.push(part)] + parser.finish())


def cuts(text: str) -> list[list[str]]:
    return [[text], list(text), *([text[:i], text[i:]] for i in range(len(text)))]


@pytest.mark.parametrize(("name", "text", "expected"), EVERY)
def test_every_cut_finds_the_same(name: str, text: str, expected: list[Event]) -> None:
    for parts in cuts(text):
        assert read(formats()[name].parser(NAMES), parts) == merged(expected), parts


@pytest.mark.parametrize(("text", "expected"), FORCED)
def test_forced_calls(text: str, expected: list[Event]) -> None:
    for parts in cuts(text):
        assert read(any_of(NAMES), parts) == expected


def test_arguments_alone() -> None:
    for parts in cuts('{"a": 1}'):
        assert read(ArgumentsParser("f"), parts) == CALL
    assert read(ArgumentsParser("f"), []) == [Begin("f")]


MARKS = [
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|python_tag|>",
    "<think>",
    "</think>",
    F,
    W,
    "{",
    "}",
]
PIECES = st.lists(
    st.sampled_from([*MARKS, "[", "]", ",", ";", '"', "\\", "f", " ", "\n", "name", ":", "é"]), max_size=14
)


@settings(max_examples=400)
@given(st.sampled_from(["hermes", "llama", "mistral"]), PIECES, st.data())
def test_any_text_in_any_cut(name: str, pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]

    def reader() -> Reader:
        return Reader(ReasoningParser(THINK), formats()[name].parser(NAMES))

    cut, whole = reader(), reader()
    found = merged([e for part in parts for e in cut.push(part)] + cut.finish())
    assert found == merged([*whole.push(text), *whole.finish()])
    for before, after in zip([None, *found], found, strict=False):
        assert not isinstance(after, Arguments) or isinstance(before, Begin)
        assert not isinstance(after, Begin) or after.name in NAMES


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_arguments_come_as_they_were_written(value: Any) -> None:
    arguments = json.dumps({"a": value})
    text = f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>'
    assert read(formats()["hermes"].parser(NAMES), list(text)) == [Begin("f"), Arguments(arguments)]


THOUGHTS: list[tuple[str, bool, list[Event]]] = [
    ("<think>\nhm\n</think>\n\nYes", False, [Reasoning("hm"), Text("Yes")]),
    ("hm, 1 < 2\n</think>\n\nYes </think>", True, [Reasoning("hm, 1 < 2"), Text("Yes </think>")]),
    ("<think>cut off </thi", False, [Reasoning("cut off </thi")]),
    ("<think></think>Yes", False, [Text("Yes")]),
    ("Yes <think>no</think>", False, [Text("Yes <think>no</think>")]),
    (" <thin", False, [Text(" <thin")]),
]


def marked(text: str, format: ReasoningFormat) -> str:
    """The text with another format's marks, and beginnings of marks."""
    for mark, own in (("</think>", format.closing), ("<think>", format.opening)):
        text = text.replace(mark, own).replace(mark[:5], own[:5])
    return text


@pytest.mark.parametrize("format", thoughts().values(), ids=lambda f: f.name)
@pytest.mark.parametrize(("text", "opened", "expected"), THOUGHTS)
def test_thoughts(format: ReasoningFormat, text: str, opened: bool, expected: list[Event]) -> None:
    wanted = [type(e)(marked(e.text, format)) for e in expected if isinstance(e, Text | Reasoning)]
    for parts in cuts(marked(text, format)):
        parser = ReasoningParser(format, opened)
        assert merged([e for part in parts for e in parser.push(part)] + parser.finish()) == wanted


def test_the_template_tells_the_thoughts() -> None:
    known = thoughts().values()
    assert suited_thoughts("{{ x.split('</think>')[-1] }}", known) is THINK
    assert suited_thoughts("[THINK]{{ x }}[/THINK]", known) is thoughts()["mistral"]
    assert suited_thoughts("nothing", known) is None


def test_only_one_call_where_one_is_wanted() -> None:
    reader = Reader(None, formats()["hermes"].parser(NAMES), single=True)
    text = f"<tool_call>{F}</tool_call><tool_call>{W}</tool_call> end"
    assert merged([*(e for c in text for e in reader.push(c)), *reader.finish()]) == [*CALL, Text("end")]


def test_ids() -> None:
    assert {len(formats()["mistral"].new_id()) for _ in range(9)} == {9}
    assert formats()["hermes"].new_id().startswith("call_")


def test_the_template_tells_the_format() -> None:
    known = formats().values()
    assert suited("... <tool_call> ...", known) is formats()["hermes"]
    assert suited("... [TOOL_CALLS] ...", known) is formats()["mistral"]
    assert suited("nothing", known) is None


def test_a_format_that_fails_to_load_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint("acme", "nowhere:AT_ALL", module.GROUP),
        EntryPoint("again", "rustinfer.server.tools.hermes:HERMES", module.GROUP),
        EntryPoint("hermes", "rustinfer.server.tools.hermes:HERMES", module.GROUP),
        EntryPoint("wrong", "json:dumps", module.GROUP),
    ]
    monkeypatch.setattr(shared, "entry_points", lambda group: points)
    monkeypatch.delenv("RUSTINFER_STRICT_PLUGINS", raising=False)
    with caplog.at_level(logging.ERROR):
        found = module.formats.__wrapped__()
    assert list(found) == ["hermes"]
    assert [r.args[1] for r in caplog.records] == ["hermes", "acme", "wrong"]  # type: ignore[index]
    assert [(each.point.name, bool(each.error)) for each in shared.tried(module.GROUP, ToolFormat)] == [
        ("again", False),
        ("hermes", True),
        ("acme", True),
        ("wrong", True),
    ]
    monkeypatch.setenv("RUSTINFER_STRICT_PLUGINS", "1")
    with pytest.raises(RuntimeError, match="hermes failed to load: there is another"):
        module.formats.__wrapped__()
    monkeypatch.setenv("RUSTINFER_DISABLE_PLUGINS", "acme,wrong,again")
    assert isinstance(module.formats.__wrapped__()["hermes"], ToolFormat)


def documented(heading: str) -> Any:
    """The value of the example below a heading of docs/plugins.md."""
    section = (ROOT / "docs" / "plugins.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    names: dict[str, Any] = {}
    exec(section.split("```python\n")[1].split("```")[0], names)
    return names["ACME"]


def test_the_documented_formats_read() -> None:
    tools, reasoning = documented("Tool formats"), documented("Reasoning formats")
    for parts in cuts(f"<call>{F}</call>"):
        assert read(tools.parser(NAMES), parts) == CALL
    for parts in cuts("<scratch>hm</scratch>Yes"):
        assert read(ReasoningParser(reasoning), parts) == [Reasoning("hm"), Text("Yes")]
