"""`LLM`: a model and its engine in this process, without sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from itertools import count
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from .collector import Collector
from .engine.build import Loaded, load
from .engine.options import Options
from .engine.sequence import Request
from .errors import UserError
from .outputs import CompletionDelta, RequestOutput
from .progress import Advance, progress
from .prompts import Encoded, Message, Prompt, Prompts
from .protocol.bad_words import tokenized
from .protocol.sampling import SamplingParams
from .text import ChatTemplate, Tokenizer

if TYPE_CHECKING:
    from .registry import Binding

Params = SamplingParams | Sequence[SamplingParams] | None
Fields = ParamSpec("Fields")


@dataclass(frozen=True)
class LLMOptions(Options):
    """What `LLM` takes: a model, which may stand first without its name, and an engine's options."""

    model: str = "smollm2"


def takes(
    like: Callable[Concatenate[Any, Fields], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, Fields], None]]:
    """A method that passes on what it is given has the other's parameters, to type checkers, editors and `help`."""
    return wraps(like, assigned=())


class LLM:
    """Runs a model: a directory, a .gguf file, a hub id or an alias. Names and defaults are vLLM's.

    Prompts of one call run together; those that fill a step go before answers, unless one of these is streamed. Safe to
    use from several threads, which then share the steps. Mistakes in an argument raise UserError before anything runs;
    a request that goes wrong while running ends with `finish_reason` "error" and leaves the others alone.
    """

    @takes(LLMOptions.__init__)
    def __init__(self, *model: Any, **options: Any) -> None:
        asked = LLMOptions(*model, **options)
        self._use(load(asked.model, asked))

    @classmethod
    def over(cls, loaded: Loaded) -> LLM:
        """An LLM over an engine that was built elsewhere."""
        made = cls.__new__(cls)
        made._use(loaded)
        return made

    def _use(self, loaded: Loaded) -> None:
        self._loaded: Loaded | None = loaded
        self._collectors: dict[str, Collector] = {}
        self._lock = threading.RLock()
        self._ids = count()

    def generate(
        self, prompts: Prompt | Sequence[Prompt], sampling_params: Params = None, use_tqdm: bool = True
    ) -> list[RequestOutput]:
        """Continue the prompts; results are in the order of the prompts. One set of parameters, or one per prompt."""
        one = isinstance(prompts, (str, Mapping)) or not isinstance(prompts, Iterable)
        many: list[Any] = [prompts] if one else list(prompts)
        return self._run([*map(self._prompts.encode, many)], sampling_params, use_tqdm)

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        sampling_params: Params = None,
        use_tqdm: bool = True,
        **template: Any,
    ) -> list[RequestOutput]:
        """Answer a conversation, or several. Further keyword arguments go to the chat template."""
        one = not isinstance(messages, Sequence) or not messages or isinstance(messages[0], (Mapping, str))
        conversations: Sequence[Any] = [messages] if one else messages
        return self._run([self._prompts.render(c, template) for c in conversations], sampling_params, use_tqdm)

    def stream(
        self, prompt: Prompt | Sequence[Message], sampling_params: SamplingParams | None = None, **template: Any
    ) -> Iterator[CompletionDelta]:
        """Continue one prompt, or answer one conversation, piece by piece. Closing the iterator aborts the request."""
        is_prompt, prompts = isinstance(prompt, (str, Mapping)), self._prompts
        asked = prompts.encode(prompt) if is_prompt else prompts.render(prompt, template)  # type: ignore[arg-type]
        return self._follow(asked, *self._spread(sampling_params, 1))

    @property
    def default_sampling_params(self) -> SamplingParams:
        """What `None` stands for: the checkpoint's own defaults, and vLLM's for the rest."""
        known = SamplingParams.names()
        defaults: dict[str, Any] = {k: v for k, v in self._parts.card.defaults.items() if k in known}
        return SamplingParams(**defaults)

    def get_tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises UserError for a model of random weights, which has none."""
        return self._prompts.tokenizer

    @property
    def vocab_size(self) -> int:
        """Token ids run from 0 to this, exclusive."""
        return self._parts.card.vocab_size

    @property
    def chat_template(self) -> ChatTemplate:
        """The model's chat template."""
        return self._parts.template

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Every binding of the running model: site, op, kernel, and each refusal."""
        return self._parts.bindings

    @property
    def phases(self) -> Mapping[str, float]:
        """Seconds that each part of the start took."""
        return self._parts.phases.seconds

    @property
    def max_model_len(self) -> int:
        """The most tokens of a prompt and its answer together."""
        return self._parts.card.context

    def close(self) -> None:
        """Free the model. Closing twice is fine."""
        self._loaded = None

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _parts(self) -> Loaded:
        if self._loaded is None:
            raise UserError("this LLM is closed: make a new one")
        return self._loaded

    @property
    def _prompts(self) -> Prompts:
        return Prompts(self._parts.tokenizer, self._parts.template)

    def _add(self, prompt: Encoded, params: SamplingParams, streamed: bool) -> Collector:
        text, ids, tokens = prompt
        if params.bad_words:
            encode = partial(self.get_tokenizer().encode, add_special_tokens=False)
            params = tokenized(params, encode)
        name = str(next(self._ids))
        collector = Collector(name, text, ids, params, self._parts.tokenizer, streamed)
        with self._lock:
            self._parts.engine.add(Request(name, tokens, params, streamed=streamed))
            self._collectors[name] = collector
        return collector

    def _run(self, prompts: list[Encoded], sampling_params: Params, show: bool) -> list[RequestOutput]:
        params = self._spread(sampling_params, len(prompts))
        collectors: list[Collector] = []
        try:
            for pair in zip(prompts, params, strict=True):
                collectors.append(self._add(*pair, streamed=False))  # noqa: PERF401 - one may be refused
            with progress(len(prompts), show) as advance:
                self._finish(collectors, advance)
        finally:
            for collector in collectors:
                self._drop(collector)
        return [collector.result for collector in collectors]

    def _finish(self, pending: list[Collector], advance: Advance) -> None:
        while pending:
            self._pump()
            left = [collector for collector in pending if not collector.result.finished]
            advance(len(pending) - len(left))
            pending = left

    def _spread(self, params: Params, number: int) -> list[SamplingParams]:
        if params is None or isinstance(params, SamplingParams):
            return [params or self.default_sampling_params] * number
        if not isinstance(params, Sequence) or not all(isinstance(each, SamplingParams) for each in params):
            raise UserError("sampling parameters are a SamplingParams, or one for each prompt")
        if len(params) != number:
            raise UserError(f"{number} prompts and {len(params)} sampling parameters: give one set, or one per prompt")
        return list(params)

    def _follow(self, prompt: Encoded, params: SamplingParams) -> Iterator[CompletionDelta]:
        if params.sequences > params.n:
            raise UserError("best_of cannot be streamed: which continuations are the best is known at their end")
        # Added here, not before: an iterator that nobody starts then leaves nothing behind.
        collector = self._add(prompt, params, streamed=True)
        try:
            while collector.deltas or not collector.result.finished:
                while not collector.deltas:
                    self._pump()
                yield collector.deltas.popleft()
        finally:
            self._drop(collector)

    def _pump(self) -> None:
        """Run one step and hand out what it brought, to whichever call is waiting for it."""
        with self._lock:
            engine = self._parts.engine
            for _, news in engine.step():
                collector = self._collectors.get(news.id)
                stopped = collector.take(news) if collector else None
                if stopped is not None:
                    engine.abort((b"", news.id), stopped)

    def _drop(self, collector: Collector) -> None:
        name = collector.result.request_id
        with self._lock:
            self._collectors.pop(name, None)
            if not collector.result.finished and self._loaded is not None:
                self._loaded.engine.abort((b"", name))
