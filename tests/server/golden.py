"""Fifty good requests, which between them use every field and every shape that an answer may have."""

from __future__ import annotations

from typing import Any

from .conftest import MODEL

Body = dict[str, Any]
ASKED = [{"role": "user", "content": "Where?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "It does.", "parameters": PARAMETERS}}
CALLED = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "d"},
]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
SAMPLED = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.01, "typical_p": 0.9, "seed": 1}
PENALTIES = {"presence_penalty": 0.1, "frequency_penalty": -0.1, "repetition_penalty": 1.1}
ENDS = {"stop": ["x", "yz"], "stop_token_ids": [3], "min_tokens": 1, "ignore_eos": True}
WORDS = {"logit_bias": {"5": 1}, "allowed_token_ids": [65, 66], "bad_words": ["q"]}
LABELS = {"user": "me", "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k"}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}


def chat(**more: Any) -> Body:
    return {"model": MODEL, "messages": ASKED, "max_completion_tokens": 12, **more}


def text(**more: Any) -> Body:
    return {"model": MODEL, "prompt": "a", "max_tokens": 5, **more}


def response(**more: Any) -> Body:
    return {"model": MODEL, "input": "a", "max_output_tokens": 12, **more}


OWN_TOOL = {"type": "function", "name": "f", "parameters": PARAMETERS, "strict": True}
TURNS = [
    {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "d"},
]
JSON_TEXT = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}

GOLDEN: dict[str, list[Body]] = {
    "/v1/chat/completions": [
        chat(),
        chat(**STREAM),
        chat(
            messages=[{"role": "system", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]}]
        ),
        chat(messages=CALLED, tools=[TOOL]),
        chat(tools=[TOOL], tool_choice="required", parallel_tool_calls=False),
        chat(tools=[TOOL], tool_choice="auto", **STREAM),
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}),
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}, **STREAM),
        chat(logprobs=True, top_logprobs=2),
        chat(logprobs=True, top_logprobs=0, **STREAM),
        chat(n=2, **SAMPLED, **PENALTIES),
        chat(n=2, temperature=1, stream=True),
        chat(**ENDS, **WORDS),
        chat(**LABELS, service_tier="auto", zebra=1),
        chat(response_format=FORMED),
        chat(response_format={"type": "json_object"}, stream=True),
        chat(guided_choice=["a", "b"], priority=1, cache_salt="s"),
        chat(reasoning_effort="low", chat_template_kwargs={"a": 1}),
        chat(messages=[*ASKED, {"role": "assistant", "content": "It"}], continue_final_message=True),
        chat(prompt_logprobs=1, include_stop_str_in_output=True, skip_special_tokens=False),
    ],
    "/v1/completions": [
        text(),
        text(**STREAM),
        text(prompt=["a", "b"], n=2, temperature=1),
        text(prompt=[1, 2, 3], stream=True),
        text(prompt=[[1], [2, 3]], echo=True),
        text(echo=True, logprobs=1, max_tokens=0),
        text(logprobs=2, **STREAM),
        text(best_of=3, n=2, **SAMPLED),
        text(**PENALTIES, **ENDS, **WORDS),
        text(**LABELS, service_tier="flex"),
        text(response_format=FORMED, guided_json=None),
        text(structured_outputs={"regex": "a+"}, stream=True, stream_options={"continuous_usage_stats": True}),
        text(guided_grammar="start: /a/", priority=-1, cache_salt="s", prompt_logprobs=1),
        text(add_special_tokens=False, regex=None, json_schema=SCHEMA),
    ],
    "/v1/responses": [
        response(),
        response(stream=True),
        response(input=TURNS, instructions="a", tools=[OWN_TOOL]),
        response(tools=[OWN_TOOL], tool_choice="required", stream=True),
        response(tools=[OWN_TOOL], tool_choice={"type": "function", "name": "f"}),
        response(text=JSON_TEXT, temperature=0.5, top_p=0.5),
        response(include=["message.output_text.logprobs"], top_logprobs=2),
        response(reasoning={"effort": "low"}, store=False, metadata={"a": "b"}, truncation="disabled"),
        response(background=True),
    ],
    "/v1/embeddings": [
        {"model": MODEL, "input": "a"},
        {"model": MODEL, "input": ["a", "b"], "encoding_format": "base64", "pooling": "last", "user": "me"},
        {"model": MODEL, "input": [[1, 2], [3]], "dimensions": 4},
    ],
    "/tokenize": [{"prompt": "a", "return_token_strs": True}, {"model": MODEL, "messages": ASKED}],
    "/detokenize": [{"tokens": [65, 66]}],
    "/v1/responses/input_tokens": [response(input=TURNS)],
}
REQUESTS = [(path, body) for path, bodies in GOLDEN.items() for body in bodies]
