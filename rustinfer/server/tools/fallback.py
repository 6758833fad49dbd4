"""Tools for models whose chat template knows of none: described in the system message, written as Hermes does."""

from __future__ import annotations

import json
from typing import Any

from .wanted import Wanted

INSTRUCTIONS = """You may call functions. Their signatures are within <tools></tools>:
<tools>
{tools}
</tools>
To call one, write a JSON object with its name and arguments within <tool_call></tool_call>:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-object>}}
</tool_call>"""


def rewritten(messages: list[dict[str, Any]], wanted: Wanted) -> list[dict[str, Any]]:
    """The same conversation in roles and texts that any template knows."""
    turns = [_turn(message) for message in messages]
    if not wanted.functions:
        return turns
    tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in wanted.for_template())
    text = INSTRUCTIONS.format(tools=tools)
    if turns[0]["role"] == "system":
        return [{**turns[0], "content": f"{turns[0]['content']}\n\n{text}"}, *turns[1:]]
    return [{"role": "system", "content": text}, *turns]


def _turn(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    written = [f"<tool_call>\n{_call(call['function'])}\n</tool_call>" for call in calls]
    return {"role": "assistant", "content": "\n".join(filter(None, [message["content"], *written]))}


def _call(function: dict[str, Any]) -> str:
    return json.dumps({"name": function["name"], "arguments": function["arguments"]}, ensure_ascii=False)
