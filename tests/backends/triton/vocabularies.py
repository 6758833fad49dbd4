"""Draw from vocabularies of awkward sizes under TRITON_INTERPRET=1: `python -m tests.backends.triton.vocabularies`.

Prints a JSON object: size -> every token that a kernel drew, rows of numbers that are no probabilities among them.
"""

from __future__ import annotations

import json
import warnings

import torch

from rustinfer.registry import Policy, Target, load_plugins
from rustinfer.registry.binder import Binder

SIZES = (1, 7, 8191, 8193, 151_937)


def drawn(size: int) -> list[int]:
    """Tokens of six rows: usual ones, no numbers, minus infinity, infinity at every other place, and all equal."""
    binder = Binder(
        load_plugins().registry, Target.of("cpu", torch.float32), Policy(pins={"sample": "triton", "argmax": "triton"})
    )
    logits = torch.randn(6, size, generator=torch.Generator().manual_seed(size))
    logits[1], logits[2], logits[3, ::2], logits[4] = torch.nan, -torch.inf, torch.inf, 0
    real, whole = torch.full((6,), 1.0), torch.zeros(6, dtype=torch.int64)
    found = binder.argmax()(logits).tolist()
    for top_k, top_p in ((0, 1.0), (5, 0.9)):
        found += binder.sample()(logits, real, whole + top_k, real * top_p, real * 0, torch.arange(6), whole).tolist()
    return found


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # numpy says what it thinks of such rows
    print(json.dumps({size: drawn(size) for size in SIZES}))
