"""POST /v1/completions: what is asked."""

from __future__ import annotations

from typing import Any

from .completion_answer import CompletionAnswer
from .completion_request import DEFAULT_MAX_TOKENS, MAX_BEST_OF, REFUSED, CompletionRequest
from .errors import bad_request
from .fields import ignored, validated
from .generation import check_logprobs
from .prepared import MAX_CHOICES, Prepared
from .served import Served


def prepare(body: dict[str, Any], served: Served) -> Prepared:
    """Everything that can be wrong with a completion request is found here. Raises ApiError."""
    request = validated(CompletionRequest, body, REFUSED)
    _check(request)
    special = request.add_special_tokens is not False
    prompts = [served.prompt_ids(p, "prompt", add_special_tokens=special) for p in request.prompt]
    rooms = [served.room(p, request.max_tokens, DEFAULT_MAX_TOKENS, "max_tokens") for p in prompts]
    scores = request.logprobs if request.echo and request.prompt_logprobs is None else request.prompt_logprobs
    ranked = request.best_of is not None and request.best_of > (request.n or 1)
    params = request.sampling(
        served,
        max_tokens=min(rooms),
        # The best of several are found by their log-probabilities.
        logprobs=0 if ranked and request.logprobs is None else request.logprobs,
        prompt_logprobs=scores,
        best_of=request.best_of,
    )
    if len(prompts) * params.sequences > MAX_CHOICES:
        raise bad_request(f"The prompts times n or best_of may be at most {MAX_CHOICES}.", "n")
    answer = CompletionAnswer(served, request, prompts, params)
    return Prepared(prompts, params, answer, ignored(request, REFUSED), **request.way)


def _check(request: CompletionRequest) -> None:
    check_logprobs("logprobs", request.logprobs)
    check_logprobs("prompt_logprobs", request.prompt_logprobs)
    if request.max_tokens is not None and request.max_tokens < 0:
        raise bad_request("max_tokens must be at least 0.", "max_tokens")
    if request.best_of is not None and not (request.n or 1) <= request.best_of <= MAX_BEST_OF:
        raise bad_request(f"best_of must be between n and {MAX_BEST_OF}.", "best_of")
    if request.stream and request.best_of is not None and request.best_of > (request.n or 1):
        raise bad_request("best_of cannot be streamed: which is best is known at the end only.", "best_of")
    if request.stream and request.prompt_logprobs is not None:
        raise bad_request("prompt_logprobs cannot be streamed; echo with logprobs can.", "prompt_logprobs")
