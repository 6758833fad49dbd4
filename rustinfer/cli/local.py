"""A model in this process, for the verbs that do not need a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import LLM, SamplingParams
from ..engine.build import load
from ..engine.options import Options
from ..errors import Refused
from .output import loading
from .speaker import Message, Pieces


def open_llm(model: str, options: Options) -> LLM:
    """The LLM that the flags ask for. How many requests may wait is a server's business."""
    return LLM.over(load(model, replace(options, max_num_queued_reqs=None)))


class Local:
    """A speaker over an LLM; the model is loaded when it is made."""

    def __init__(self, model: str, options: Options, sampling: dict[str, Any]) -> None:
        self.name = model
        self.params = SamplingParams(**sampling)  # before the model is loaded: a wrong value is told at once
        with loading(model):
            self.llm = open_llm(model, options)

    def chat(self, messages: list[Message]) -> Pieces:
        return self._pieces(messages)

    def complete(self, prompt: str) -> Pieces:
        return self._pieces(prompt)

    def _pieces(self, asked: str | list[Message]) -> Pieces:
        for delta in self.llm.stream(asked, self.params):
            if delta.finish_reason == "error":
                raise Refused(f"the model stopped: {delta.stop_reason}")
            yield delta.text
