"""What `LLM` makes of an engine's outputs is what a server makes of them: both ask the same stream."""

from __future__ import annotations

import pytest

from rustinfer.collector import Collector
from rustinfer.protocol.messages import Output
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.server.choice import Choice
from rustinfer.text import Tokenizer
from tests.text.vocabularies import byte_level

TOKENIZER = Tokenizer(byte_level())
HALF = [TOKENIZER.find(c) or 0 for c in "ðŁ"]
"""Two of the four bytes of a code point."""


@pytest.mark.parametrize(
    ("stop", "ids", "reason"),
    [
        ([], HALF, "length"),
        (["\ufffd"], HALF, "length"),
        (["b"], TOKENIZER.encode("abc", False), "length"),
        (["abcd"], TOKENIZER.encode("abc", False), "stop"),
    ],
)
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("step", [1, 9])
def test_library_and_server_agree(stop: list[str], ids: list[int], reason: str, include: bool, step: int) -> None:
    params = SamplingParams(stop=stop, include_stop_str_in_output=include, logprobs=0)
    collector, choice, text, why = Collector("a", None, [1], params, TOKENIZER), Choice(TOKENIZER, params), "", None
    for at in range(0, len(ids), step):
        some = ids[at : at + step]
        last = reason if at + step >= len(ids) else None
        output = Output("a", 0, some, [(-0.5, [], 1)] * len(some), last)  # type: ignore[arg-type]
        if not choice.finished:
            part, aborted = choice.take(output), collector.take(output)
            text, why = text + part.text, part.finish_reason
            assert (aborted == 0) == part.stopped_early
    (said,) = collector.result.outputs
    assert (said.text, said.finish_reason, said.stop_reason) == (text, why, part.stop_reason)
    assert len(said.token_ids) == choice.completion_tokens
    assert "".join(delta.text for delta in collector.deltas) == text
