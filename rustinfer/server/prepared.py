"""A request that was understood: what goes to the engine, and how its answer is written."""

from __future__ import annotations

from dataclasses import dataclass

from rustinfer.protocol.messages import Pool
from rustinfer.protocol.sampling import SamplingParams

from .answer import Answer
from .errors import ApiError

MAX_CHOICES = 512
"""Sequences of one request."""


@dataclass(frozen=True)
class Prepared:
    """`sampling`, `priority`, `salt` and `pool` go to the engine with each of `prompts`.

    `field` is the one with the prompts, `form` the one that demands a form of the answer.
    """

    prompts: list[list[int]]
    sampling: SamplingParams
    answer: Answer
    ignored: list[str]
    stream: bool = False
    priority: int = 0
    salt: str = ""
    pool: Pool = ""
    form: str | None = None
    field: str = "prompt"

    def named(self, error: ApiError) -> ApiError:
        """The engine does not know which field had the prompt, or asked for the form, that it refuses."""
        if error.param == "prompt":
            error.param = self.field
        if error.param == "structured_outputs" and self.form is not None:
            error.param = self.form
        return error

    @property
    def headers(self) -> dict[str, str]:
        retried = {"X-Retried": "1"} if self.answer.retried else {}
        return retried | ({"X-Ignored-Params": ", ".join(self.ignored)} if self.ignored else {})
