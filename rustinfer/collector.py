"""Puts a request's outputs together: tokens to text, stop strings, log-probabilities, and who is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .outputs import CompletionDelta, CompletionOutput, Logprob, RequestOutput
from .protocol.messages import Failed, Output, TokenLogprob, ranked
from .protocol.sampling import SamplingParams
from .text import TextDelta, TextStream, Tokenizer


class Mute:
    """Stands for a TextStream where no text is wanted or there is no tokenizer: no text, no stop strings."""

    def take(self, token_ids: Sequence[int], reason: str | None) -> TextDelta:
        """Nothing, from all of the tokens."""
        return TextDelta("", None, len(token_ids), 0)


class Collector:
    """One request's results so far. With `streamed`, `deltas` holds what was added since they were last taken."""

    def __init__(
        self,
        name: str,
        prompt: str | None,
        tokens: list[int],
        params: SamplingParams,
        tokenizer: Tokenizer | None,
        streamed: bool = True,
    ) -> None:
        self.params, self.tokenizer = params, tokenizer
        self._quiet = not (streamed or (tokenizer and params.detokenize))
        self._streamed = streamed
        scored = params.logprobs is not None or params.sequences > params.n
        outputs = [
            CompletionOutput(i, cumulative_logprob=0.0 if scored else None, logprobs=[] if scored else None)
            for i in range(params.sequences)
        ]
        self.result = RequestOutput(name, prompt, tokens, outputs)
        if params.prompt_logprobs is not None:
            self.result.prompt_logprobs = [None]
        self.deltas: deque[CompletionDelta] = deque()
        self._streams = [
            TextStream(
                tokenizer, params.stop, params.skip_special_tokens, params.include_stop_str_in_output, params.min_tokens
            )
            if tokenizer and params.detokenize
            else Mute()
            for _ in outputs
        ]

    def take(self, news: Output | Failed) -> int | None:
        """Add the engine's news. Returns the index of a sequence that met a stop string: the engine is to abort it."""
        if isinstance(news, Failed):
            for output in self.result.outputs:
                if output.finish_reason is None:
                    self._end(output, CompletionDelta(output.index, "", [], "error", news.message))
            return None
        if self._quiet and news.finish_reason is None and news.token_ids and news.logprobs is None:
            self.result.outputs[news.index].token_ids += news.token_ids
            return None
        if news.prompt_logprobs is not None:
            self._scan(news.prompt_logprobs)
        output, stream = self.result.outputs[news.index], self._streams[news.index]
        self.result.num_cached_tokens = news.cached_tokens
        delta = stream.take(news.token_ids, news.finish_reason)
        used = news.token_ids[: delta.tokens]
        output.token_ids += used
        self._score(output, used, news.logprobs)
        if delta.stopped is not None:
            self._end(output, CompletionDelta(news.index, delta.text, used, "stop", delta.stopped))
            return None if news.finish_reason else news.index
        told = CompletionDelta(news.index, delta.text, used, news.finish_reason, news.stop_reason)
        (self._add if news.finish_reason is None else self._end)(output, told)
        return None

    def _add(self, output: CompletionOutput, delta: CompletionDelta) -> None:
        output.text += delta.text
        if self._streamed:
            self.deltas.append(delta)

    def _end(self, output: CompletionOutput, delta: CompletionDelta) -> None:
        self._add(output, delta)
        output.finish_reason, output.stop_reason = delta.finish_reason, delta.stop_reason
        self.result.finished = all(o.finish_reason for o in self.result.outputs)
        if self.result.finished and self.params.sequences > self.params.n:
            self._pick()

    def _pick(self) -> None:
        """Keep the n likeliest of best_of continuations, the likeliest first."""
        ranked = sorted(self.result.outputs, key=lambda o: -(o.cumulative_logprob or 0.0))
        self.result.outputs = ranked[: self.params.n]
        for index, output in enumerate(self.result.outputs):
            output.index = index
            if self.params.logprobs is None:
                output.logprobs = None

    def _scan(self, scores: list[TokenLogprob]) -> None:
        known = self.result.prompt_logprobs
        assert known is not None
        known += [self._row(self.result.prompt_token_ids[at], row) for at, row in enumerate(scores, len(known))]

    def _score(self, output: CompletionOutput, tokens: list[int], logprobs: list[TokenLogprob] | None) -> None:
        if logprobs is None or output.logprobs is None or output.cumulative_logprob is None:
            return
        for token, scored in zip(tokens, logprobs, strict=False):
            output.logprobs.append(self._row(token, scored))
            output.cumulative_logprob += scored[0]

    def _row(self, token: int, scored: TokenLogprob) -> dict[int, Logprob]:
        """One place's log-probabilities: the token itself first, then the best."""
        return {each: Logprob(score, rank, self._word(each)) for each, score, rank in ranked(token, scored)}

    def _word(self, token: int) -> str:
        return self.tokenizer.token_bytes(token).decode("utf-8", "replace") if self.tokenizer else ""
