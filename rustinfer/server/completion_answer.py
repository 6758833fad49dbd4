"""POST /v1/completions: how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rustinfer.protocol.messages import TokenLogprob
from rustinfer.protocol.sampling import SamplingParams

from . import logprobs
from .answer import Counts, Finished
from .choice import Part, TokenText
from .chunks import ChunkedAnswer
from .completion_request import CompletionRequest
from .echo import echoed, scored
from .large import drop
from .served import Served


class CompletionAnswer(ChunkedAnswer):
    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(
        self, served: Served, request: CompletionRequest, prompts: list[list[int]], params: SamplingParams
    ) -> None:
        super().__init__(served, request)
        self._request, self._prompts, self._sequences = request, prompts, params.sequences
        self._count = request.logprobs
        self._skipped = served.tokenizer.special_ids if params.skip_special_tokens else frozenset()
        self._offsets: dict[int, int] = {}
        self._scores: list[list[TokenLogprob]] = [[] for _ in prompts]
        self._waiting: list[tuple[int, Part]] = []

    def events(self, parts: Sequence[tuple[int, Part]], counts: Callable[[], Counts]) -> bytes:
        if not (self._request.echo and self._count is not None):
            return super().events(parts, counts)
        for number, part in parts:
            self._score(number, part.prompt_logprobs)
        # A choice may begin before the prompt, which another one of its prompt brings, is known in full.
        self._waiting += parts
        ready = [item for item in self._waiting if self._known(item[0])]
        self._waiting = [item for item in self._waiting if not self._known(item[0])]
        return super().events(ready, counts)

    def opening(self, number: int) -> list[dict[str, Any]]:
        if not self._request.echo:
            return []
        tokens = self._echoed(number)
        self._offsets[number] = sum(len(t.text) for t in tokens)
        head = {"index": number, "text": self._prompt(number, tokens), "logprobs": self._logprobs(tokens, 0)}
        return [head | {"finish_reason": None}]

    def pieces(self, number: int, part: Part) -> list[dict[str, Any]]:
        if not (part.text or part.tokens or part.finish_reason):
            return []
        offset = self._offsets.get(number, 0)
        self._offsets[number] = offset + sum(len(t.text) for t in part.tokens)
        choice = {"index": number, "text": part.text, "logprobs": self._logprobs(part.tokens, offset)}
        choice["finish_reason"] = part.finish_reason
        if part.finish_reason:
            choice["stop_reason"] = part.stop_reason
        return [choice]

    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        for number, one in enumerate(finished):
            self._score(number, one.prompt_logprobs)
        kept = []
        for first in range(0, len(finished), self._sequences):
            of_prompt = [self.choice(n, finished[n]) for n in self._best(first, finished)]
            kept += of_prompt
            for one in finished[first : first + self._sequences]:
                drop(one.tokens)
        choices = [{**choice, "index": index} for index, choice in enumerate(kept)]
        return self.written(choices, counts)

    def choice(self, number: int, finished: Finished) -> dict[str, Any]:
        echo = self._echoed(number) if self._request.echo else []
        last = finished.last
        choice = {
            "index": number,
            "text": (self._prompt(number, echo) if echo else "") + finished.text,
            "logprobs": self._logprobs(echo + finished.tokens, 0),
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }
        if self._request.prompt_logprobs is not None:
            prompt = number // self._sequences
            choice["prompt_logprobs"] = scored(self._prompts[prompt], self._scores[prompt], self.served.tokenizer)
        return choice

    def _best(self, first: int, finished: list[Finished]) -> list[int]:
        """The choices of one prompt that are shown: of the highest cumulative log-probability, best first."""
        numbers = list(range(first, first + self._sequences))
        count = self._request.n or 1
        if count == self._sequences:
            return numbers
        return sorted(numbers, key=lambda n: -sum(t.logprob or 0.0 for t in finished[n].tokens))[:count]

    def _score(self, number: int, found: list[TokenLogprob]) -> None:
        self._scores[number // self._sequences] += found

    def _known(self, number: int) -> bool:
        prompt = number // self._sequences
        return len(self._scores[prompt]) >= len(self._prompts[prompt]) - 1

    def _echoed(self, number: int) -> list[TokenText]:
        prompt = number // self._sequences
        return echoed(self._prompts[prompt], self._scores[prompt], self.served.tokenizer, self._skipped)

    def _prompt(self, number: int, tokens: list[TokenText]) -> str:
        given = self._request.prompt[number // self._sequences]
        return given if isinstance(given, str) else "".join(t.text for t in tokens)

    def _logprobs(self, tokens: list[TokenText], offset: int) -> dict[str, Any] | None:
        if self._count is None:
            return None
        return logprobs.completion(tokens, self.served.tokenizer, self._count, offset)
