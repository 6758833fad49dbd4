"""POST /v1/embeddings: a text as one vector of the served model's hidden states, of length 1."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from rustinfer.protocol.sampling import SamplingParams

from .answer import Answer, Counts, Finished
from .choice import Part
from .completion_request import prompts
from .errors import bad_request
from .fields import ignored, validated
from .generation import Label
from .openai import generate, understood
from .openapi.forms import PROMPT
from .prepared import Prepared
from .served import Served

MAX_INPUTS = 2048


class EmbeddingRequest(BaseModel):
    """`pooling` is how a prompt's hidden states become one vector; `dimensions` can only be the model's own."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    input: Annotated[list[Any], BeforeValidator(lambda v: prompts(v, MAX_INPUTS)), WithJsonSchema(PROMPT)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    pooling: Literal["mean", "last"] | None = None
    add_special_tokens: bool | None = None
    user: Label | None = None


async def create(request: Request) -> Response:
    return await generate(request, await understood(request, prepare))


def prepare(body: dict[str, Any], served: Served) -> Prepared:
    """Everything that can be wrong with a request is found here. Raises ApiError."""
    asked = validated(EmbeddingRequest, body, {})
    width = served.card.width
    if asked.dimensions not in (None, width):
        raise bad_request(f"dimensions must be {width}: this model's vectors cannot be cut.", "dimensions")
    ids = [served.prompt_ids(p, "input", add_special_tokens=asked.add_special_tokens is not False) for p in asked.input]
    for prompt in ids:
        served.room(prompt, 0, None, "input", "input")
    params = SamplingParams(max_tokens=0, temperature=0.0)
    answer = EmbeddingAnswer(served, asked)
    return Prepared(ids, params, answer, ignored(asked, {}), pool=asked.pooling or "mean", field="input")


class EmbeddingAnswer(Answer):
    def __init__(self, served: Served, request: EmbeddingRequest) -> None:
        self.served, self._request = served, request

    def events(self, parts: Sequence[tuple[int, Part]], counts: Callable[[], Counts]) -> bytes:
        raise AssertionError("vectors are not streamed")

    def closing(self, counts: Counts) -> bytes:
        raise AssertionError("vectors are not streamed")

    def whole(self, finished: list[Finished], counts: Counts) -> dict[str, Any]:
        vectors = []
        for one in finished:
            vectors.append(self._written(normalised(one.last.embedding or [])))
            one.last = Part("")
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)],
            "model": self._request.model,
            "usage": {"prompt_tokens": counts.prompt, "total_tokens": counts.prompt},
        }

    def _written(self, vector: list[float]) -> list[float] | str:
        if self._request.encoding_format != "base64":
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def normalised(vector: list[float]) -> list[float]:
    """Of Euclidean length 1; nothing but zeros stays as it is."""
    length = math.sqrt(math.fsum(x * x for x in vector))
    return [x / length for x in vector] if length > 0 else vector
