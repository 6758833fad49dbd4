from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Event
from typing import Any

import pytest

from rustinfer.text import RESERVED, ChatTemplate, TemplateError

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}\n{%- if tools is not none and tools %}\n    {{- tools | tojson(indent=4) }}\n{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}\n"
    "    {%- if loop.last %}{{ loop.index }}/{{ loop.length }}{% endif %}\n"
    "{%- endfor %}\n"
)
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <brief> & naïve."},
    {"role": "user", "content": "  Hi 你好  "},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": "é<"}}}]


def one(source: str, **variables: Any) -> str:
    return ChatTemplate(source).render([{"role": "user", "content": "hi"}], **variables)


@pytest.mark.parametrize("source", [CHATML, LLAMA3])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("generation", [True, False])
def test_renders_as_transformers_does(source: str, tools: Any, generation: bool) -> None:
    theirs = pytest.importorskip("transformers.utils.chat_template_utils")
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    expected, _ = theirs.render_jinja_template(
        [TURNS], tools=tools, chat_template=source, add_generation_prompt=generation, **tokens
    )
    rendered = ChatTemplate(source, **tokens).render(TURNS, tools=tools, add_generation_prompt=generation)
    assert [rendered] == expected


def test_blocks_swallow_their_line_ends() -> None:
    assert one("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"


def test_loops_can_break_and_continue() -> None:
    body = "{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}"
    assert one("{% for i in range(9) %}" + body + "{% endfor %}") == "023"


def test_json_is_not_escaped_for_html() -> None:
    assert one("{{ {'é': '<&>\\'', 'n': none} | tojson }}") == '{"é": "<&>\'", "n": null}'
    assert one("{{ [1] | tojson(indent=2) }}") == "[\n  1\n]"


def test_the_date_and_training_marks() -> None:
    assert one("{{ strftime_now('%Y') }}") == str(datetime.now().year)
    assert one("a{% generation %}{{ messages[0].content }}{% endgeneration %}b") == "ahib"


def test_a_template_may_refuse() -> None:
    with pytest.raises(TemplateError, match=r"^the chat template refuses these messages: no system, please$"):
        one("{{ raise_exception('no system,\n please') }}")


def test_variables_reach_the_template_and_reserved_names_do_not() -> None:
    assert one("{{ enable_thinking }}", enable_thinking=False) == "False"
    for name in RESERVED - {"messages", "tools", "add_generation_prompt", "continue_final_message"}:
        with pytest.raises(TemplateError, match=name):
            one("x", **{name: True})


def test_the_template_for_tools_is_chosen_when_there_are_tools() -> None:
    template = ChatTemplate({"default": "plain", "tool_use": "{{ tools | length }} tools"})
    assert template.render(TURNS) == "plain"
    assert template.render(TURNS, tools=TOOLS) == "1 tools"
    with pytest.raises(TemplateError, match="only rag"):
        ChatTemplate({"rag": "x"}).render(TURNS)


def test_without_a_template_the_error_says_what_to_do() -> None:
    with pytest.raises(TemplateError, match="no chat template: use completions"):
        ChatTemplate(None).render(TURNS)


def test_the_last_message_can_be_continued() -> None:
    turns = [*TURNS, {"role": "assistant", "content": "Well, "}]
    text = ChatTemplate(CHATML).render(turns, continue_final_message=True)
    assert text.endswith("<|im_start|>assistant\nWell, ")
    with pytest.raises(TemplateError, match="cannot be continued"):
        ChatTemplate("nothing of it").render(turns, continue_final_message=True)


@pytest.mark.parametrize("source", ["{% for x in [1] %}", "{{ 1 + }}", "{% nonsense %}", "{{ x | no_such_filter }}"])
def test_a_broken_template_is_one_line(source: str) -> None:
    with pytest.raises(TemplateError, match="cannot be compiled") as error:
        ChatTemplate(source)
    assert "\n" not in str(error.value)


def test_a_failing_template_leaves_the_next_rendering_alone() -> None:
    template = ChatTemplate("{{ 8 // messages | length }}")
    with pytest.raises(TemplateError, match="division"):
        template.render([])
    assert template.render(TURNS) == "4"


def test_renderings_do_not_wait_for_each_other() -> None:
    template, held = ChatTemplate("{{ wait() if wait else 'done' }}"), Event()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(template.render, [], wait=lambda: held.wait(150))
        try:
            assert pool.submit(template.render, []).result(100) == "done"
        finally:
            held.set()
        assert slow.result(100) == "True"


def test_long_conversations_are_within_the_budget() -> None:
    turns = [{"role": "user", "content": "word " * 200}] * 2000
    assert len(re.findall("im_start", ChatTemplate(CHATML).render(turns))) == 2001
