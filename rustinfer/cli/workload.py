"""What a load consists of: prompts of ordinary words, and when they are sent. The same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Words that are one token each, with the space before them, in the usual vocabularies: any server gets the same load.
_LINES = (
    "time people year way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name president team minute idea body information "
    "back parent face others level office door health person art war history party result change morning reason "
    "research girl guy moment air teacher force education"
)
WORDS = _LINES.split()
GROUPS = 4  # shared prefixes in a load
LONG = 8  # one prompt of so many is so many times as long


@dataclass(frozen=True)
class Ask:
    """One request: its prompt, and the most tokens to make."""

    prompt: str
    tokens: int


Make = Callable[[random.Random, int, int], str]


def text(source: random.Random, length: int) -> str:
    """About `length` tokens of words."""
    return " ".join(source.choice(WORDS) for _ in range(length))


def _shared(source: random.Random, index: int, length: int) -> str:
    own = max(length // 4, 1)
    prefix = text(random.Random(index % GROUPS), length - own)
    return f"{prefix} {text(source, own)}" if prefix else text(source, own)


def _long(source: random.Random, index: int, length: int) -> str:
    return text(source, length * LONG if index % LONG == 0 else length)


def _mixed(source: random.Random, index: int, length: int) -> str:
    return tuple(KINDS.values())[index % 3](source, index // 3, length)


KINDS: Mapping[str, Make] = MappingProxyType(
    {"random": lambda source, _, length: text(source, length), "shared-prefix": _shared, "long-prompt": _long}
)
WORKLOADS: Mapping[str, Make] = MappingProxyType({**KINDS, "mixed": _mixed})
"""random: nothing in common; shared-prefix: three quarters of a prompt are one of four; long-prompt: one in eight is
eight times as long; mixed: a third of each."""


def asks(kind: str, number: int, input_len: int, output_len: int, seed: int | str) -> list[Ask]:
    source = random.Random(f"{seed} {kind}")
    return [Ask(WORKLOADS[kind](source, index, input_len), output_len) for index in range(number)]


def arrivals(number: int, rate: float, seed: int | str) -> list[float]:
    """Seconds after the start at which requests are sent: a Poisson process of `rate` a second."""
    source, now, times = random.Random(f"{seed} arrivals"), 0.0, []
    for _ in range(number):
        now += source.expovariate(rate)
        times.append(now)
    return times
