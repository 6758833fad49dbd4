"""Chat templates: a conversation written down the way a model was trained to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Template, meta
from jinja2.exceptions import TemplateError as JinjaError

from .budget import SIZE_LIMIT
from .errors import TemplateError
from .sandbox import Sandbox
from .tokenizer import first_line

Source = str | Mapping[str, str]

RESERVED = frozenset(
    (
        "add_generation_prompt", "chat_template", "continue_final_message", "documents", "messages", "return_dict",
        "return_tensors", "tokenize", "tools",
    )
)  # fmt: skip
"""Names that a request's `chat_template_kwargs` may not set."""


class ChatTemplate:
    """Renders messages with a checkpoint's Jinja template, in a sandbox with bounded time and size.

    `source` is the template, several by name ("default", and "tool_use" for when there are tools), or None: rendering
    then says what to do. The output holds the template's own special tokens: encode it without adding any. Safe to
    share between threads.
    """

    def __init__(self, source: Source | None, bos_token: str = "", eos_token: str = "", **special_tokens: str) -> None:
        named = {"default": source} if isinstance(source, str) else dict(source or {})
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token, **special_tokens}
        self._sandbox = Sandbox()
        self._templates = {name: self._compile(text) for name, text in named.items()}
        self._reads = frozenset(name for text in named.values() for name in self._variables(text))

    def reads(self, variable: str) -> bool:
        """Whether the template uses a variable of this name, such as `tools`, at all."""
        return variable in self._reads

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """The prompt of a conversation. With `continue_final_message` it ends inside of the last message.

        Raises TemplateError where the template is missing or broken, or refuses the messages.
        """
        template = self._choose(bool(tools))
        if taken := sorted(variables.keys() & RESERVED):
            raise TemplateError(f"chat template variables may not be named {', '.join(taken)}")
        opened = add_generation_prompt and not continue_final_message
        values = {"messages": messages, "tools": tools or None, "add_generation_prompt": opened}
        text = self._run(template, {**self._tokens, **variables, **values})
        return _continued(text, messages) if continue_final_message else text

    def _compile(self, source: str) -> Template:
        try:
            return self._sandbox.from_string(source)
        except (JinjaError, RecursionError) as error:
            raise TemplateError(f"the chat template cannot be compiled: {first_line(error)}") from None

    def _variables(self, source: str) -> set[str]:
        return meta.find_undeclared_variables(self._sandbox.parse(source))

    def _choose(self, tools: bool) -> Template:
        if not self._templates:
            raise TemplateError("this model has no chat template: use completions instead, as in /v1/completions")
        if tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        if "default" not in self._templates:
            raise TemplateError(f"this model has no default chat template, only {', '.join(sorted(self._templates))}")
        return self._templates["default"]

    def _run(self, template: Template, variables: dict[str, Any]) -> str:
        self._sandbox.budget.renew()
        parts, size = [], 0
        try:
            for part in template.generate(variables):
                parts.append(part)
                size += len(part)
                if size > SIZE_LIMIT:
                    raise TemplateError(f"the chat template writes more than {SIZE_LIMIT} characters")
        except TemplateError:
            raise
        except Exception as error:  # whatever a stranger's template does wrong
            raise TemplateError(f"the chat template fails: {first_line(error)}") from None
        return "".join(parts)


def _continued(text: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """The rendering up to the end of the last message's text."""
    last = messages[-1].get("content") if messages else None
    if isinstance(last, list):
        last = next((part.get("text") for part in reversed(last) if isinstance(part, Mapping) and "text" in part), None)
    if not isinstance(last, str) or (at := text.rfind(last.strip())) < 0:
        raise TemplateError("the last message cannot be continued: the chat template does not write its text as it is")
    kept = last if text.startswith(last, at) else last.strip()
    return text[: at + len(kept)]
