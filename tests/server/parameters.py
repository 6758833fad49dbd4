"""Every field of every request: a value that changes the answer, and one that is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import BaseModel

from rustinfer.server.chat_request import ChatRequest
from rustinfer.server.completion_request import CompletionRequest
from rustinfer.server.embeddings import EmbeddingRequest
from rustinfer.server.responses.request import ResponseRequest

from .conftest import MODEL


@dataclass(frozen=True)
class Parameter:
    """`change`, added to `base`, changes what comes back or what the engine is asked; `bad` is a 400.

    With `text` it changes the words of a model, too. `change=None`: it can only ask for what is done anyway.
    """

    name: str
    change: Any
    bad: Any
    base: dict[str, Any] = field(default_factory=dict)
    text: bool = False


@dataclass(frozen=True)
class Endpoint:
    """`body` is a request as short as it can be."""

    path: str
    model: type[BaseModel]
    body: dict[str, Any]
    parameters: list[Parameter]


HOT = {"temperature": 1.5, "seed": 3}
LONG = {"max_tokens": 40}
ENDING = {"logit_bias": {"2": 100}}
"""The default model's end token at once; to the fake one it means nothing."""
STREAMED = {"stream": True}
ASKED = [{"role": "user", "content": "a"}]
BEGUN = [*ASKED, {"role": "assistant", "content": "b"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": CITY}}]}
OWN_TOOLS = {"tools": [{"type": "function", "name": "f", "parameters": CITY}]}
LOGPROBS = ["message.output_text.logprobs"]

LABELS = [
    Parameter("user", "me", 5),
    Parameter("safety_identifier", "me", 5),
    Parameter("prompt_cache_key", "k", 5),
    Parameter("metadata", {"a": "b"}, []),
]
SAMPLING = [
    Parameter("n", 2, 0, text=True),
    Parameter("max_tokens", 3, -1, text=True),
    Parameter("min_tokens", 3, -1, ENDING, text=True),
    Parameter("temperature", 1.5, 2.5, {"seed": 3}, text=True),
    Parameter("top_p", 0.05, 1.5, HOT, text=True),
    Parameter("top_k", 1, -2, HOT, text=True),
    Parameter("min_p", 0.9, -1, HOT, text=True),
    Parameter("typical_p", 0.05, 0, HOT, text=True),
    Parameter("presence_penalty", 2.0, 2.1, LONG, text=True),
    Parameter("frequency_penalty", 2.0, -2.1, LONG, text=True),
    Parameter("repetition_penalty", 3.0, 0, LONG, text=True),
    Parameter("seed", 4, 2**63, HOT, text=True),
    Parameter("stop", ["Paris"], [""], text=True),
    Parameter("stop_token_ids", [50], [-1], {"logit_bias": {"50": 100}}, text=True),
    Parameter("ignore_eos", True, 1, ENDING | {"skip_special_tokens": False}, text=True),
    Parameter("skip_special_tokens", False, "no", ENDING | {"ignore_eos": True}, text=True),
    Parameter("include_stop_str_in_output", True, 0, {"stop": ["Paris"]}, text=True),
    Parameter("logit_bias", {"50": 100}, {"x": 1}, text=True),
    Parameter("allowed_token_ids", [50], [], text=True),
    Parameter("bad_words", ["Paris", " Paris"], [""], text=True),
    Parameter("prompt_logprobs", 1, 21),
    Parameter("response_format", {"type": "json_object"}, {"type": "sound"}, text=True),
    Parameter("structured_outputs", {"regex": "[A-Z]{4}"}, {"rhyme": "a"}, text=True),
    Parameter("guided_json", {"enum": ["x"]}, "{", text=True),
    Parameter("guided_regex", "[0-9]{3}", 5, text=True),
    Parameter("guided_choice", ["London", "Rome"], [], text=True),
    Parameter("guided_grammar", 'start: "x" /[yz]+/', 5, text=True),
    Parameter("ebnf", 'root ::= "x" [yz]+', 5, text=True),
    Parameter("regex", "[0-9]{3}", 5, text=True),
    Parameter("json_schema", {"enum": ["x"]}, 5, text=True),
    Parameter("cache_salt", "mine", "a/b"),
    Parameter("priority", 3, "high"),
    Parameter("service_tier", "flex", "gold"),
    *LABELS,
]
COMMON = [
    *SAMPLING,
    Parameter("model", "another", 5),
    Parameter("stream", True, "yes"),
    Parameter("stream_options", {"include_usage": True}, "x", STREAMED),
]
COMPLETIONS = Endpoint(
    "/v1/completions",
    CompletionRequest,
    {"model": MODEL, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8},
    [
        *COMMON,
        Parameter("prompt", "Two and two make", 5, text=True),
        Parameter("logprobs", 2, 21),
        Parameter("echo", True, 1, text=True),
        Parameter("best_of", 4, 0, HOT),
        Parameter("add_special_tokens", False, 1),
    ],
)
CHAT = Endpoint(
    "/v1/chat/completions",
    ChatRequest,
    {"model": MODEL, "messages": ASKED, "temperature": 0, "max_tokens": 8},
    [
        *COMMON,
        Parameter("messages", [{"role": "user", "content": "b"}], []),
        Parameter("max_completion_tokens", 3, 0),
        Parameter("logprobs", True, "yes"),
        Parameter("top_logprobs", 2, 21, {"logprobs": True}),
        Parameter("tools", TOOLS["tools"], 5),
        Parameter("tool_choice", "none", "always", TOOLS),
        Parameter("parallel_tool_calls", False, "no", TOOLS | {"tool_choice": "required"}),
        Parameter("reasoning_effort", "high", "bogus"),
        Parameter("add_generation_prompt", False, "no"),
        Parameter("continue_final_message", True, "x", {"messages": BEGUN, "add_generation_prompt": False}),
        Parameter("chat_template_kwargs", {"enable_thinking": False}, 5),
    ],
)


def made(http: httpx.Client) -> str:
    """The id of a response that can be continued."""
    return str(http.post("/v1/responses", json=RESPONSES.body).json()["id"])


ELSEWHERE = ("n", "max_tokens", "response_format", "prompt_logprobs", "service_tier")
RESPONSES = Endpoint(
    "/v1/responses",
    ResponseRequest,
    {"model": MODEL, "input": "a", "temperature": 0, "max_output_tokens": 8},
    [
        Parameter("model", "another", 5),
        Parameter("input", "b", 5),
        Parameter("instructions", "Be brief.", 5),
        Parameter("previous_response_id", made, "bad"),
        Parameter("max_output_tokens", 3, 0),
        Parameter("tools", OWN_TOOLS["tools"], 5),
        Parameter("tool_choice", "none", "always", OWN_TOOLS),
        Parameter("parallel_tool_calls", False, "no", OWN_TOOLS | {"tool_choice": "required"}),
        Parameter("text", {"format": {"type": "json_object"}}, {"format": {"type": "sound"}}),
        Parameter("reasoning", {"effort": "high"}, {"effort": "bogus"}),
        Parameter("top_logprobs", 2, 21, {"include": LOGPROBS}),
        Parameter("include", LOGPROBS, ["x"]),
        Parameter("truncation", None, "auto"),
        Parameter("store", False, "yes"),
        Parameter("background", True, "yes"),
        Parameter("stream", True, "yes"),
        Parameter("stream_options", None, "x", STREAMED),
        Parameter("service_tier", None, "gold"),
        # Beyond its own, what a chat may have, but for what is called by another name here.
        *(p for p in SAMPLING if p.name not in ELSEWHERE),
    ],
)
EMBEDDINGS = Endpoint(
    "/v1/embeddings",
    EmbeddingRequest,
    {"model": MODEL, "input": "ab"},
    [
        Parameter("model", "another", 5),
        Parameter("input", "b", 5),
        Parameter("encoding_format", "base64", "hex"),
        Parameter("dimensions", None, 3),
        Parameter("pooling", "last", "max"),
        Parameter("add_special_tokens", False, 1),
        Parameter("user", "me", 5),
    ],
)
ENDPOINTS = (COMPLETIONS, CHAT, RESPONSES, EMBEDDINGS)
