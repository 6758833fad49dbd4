"""What the sampler draws, against distributions worked out by hand; and that the test tells a wrong sampler from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from rustinfer import ops
from rustinfer.engine.draw import Draw
from rustinfer.engine.sampler import Sampler
from rustinfer.engine.sequence import Request, Sequence
from rustinfer.protocol.sampling import SamplingParams
from rustinfer.registry import Binder, Target

from .tiny import plugins

DRAWS = 10_000
LOGITS = [2.1, 0.3, -0.4, 1.6, 1.1, -1.3, 0.8, -2.2, 1.9, 0.0, -0.9, 0.5]
PROMPT, OUTPUT, END = [2, 4, 4], [3, 8, 8, 8], 8
Shares = list[float]


def softmax(logits: list[float]) -> Shares:
    weights = [math.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def kept(shares: Shares, tokens: list[int]) -> Shares:
    """The shares of these tokens alone."""
    whole = sum(shares[t] for t in tokens)
    return [p / whole if t in tokens else 0.0 for t, p in enumerate(shares)]


def until(shares: Shares, order: list[int], mass: float) -> list[int]:
    """The first tokens of an order that together have so much mass."""
    taken: list[int] = []
    while sum(shares[t] for t in taken) < mass:
        taken.append(order[len(taken)])
    return taken


PLAIN = softmax(LOGITS)
RANKED = sorted(range(12), key=lambda t: -PLAIN[t])
ENTROPY = -sum(p * math.log(p) for p in PLAIN)
TYPICAL = sorted(range(12), key=lambda t: abs(math.log(PLAIN[t]) + ENTROPY))


def repeated(factor: float) -> Shares:
    seen = {*PROMPT, *OUTPUT}
    return softmax([(x / factor if x > 0 else x * factor) if t in seen else x for t, x in enumerate(LOGITS)])


def together() -> Shares:
    """Bias, then penalties, then the mask, then temperature, then top-k."""
    seen = {*PROMPT, *OUTPUT}
    biased = [x + {0: -1.5, 3: 2.0}.get(t, 0) for t, x in enumerate(LOGITS)]
    repeated = [(x / 1.8 if x > 0 else x * 1.8) if t in seen else x for t, x in enumerate(biased)]
    final = [(x - 0.5 * OUTPUT.count(t)) / 1.7 for t, x in enumerate(repeated)]
    allowed = sorted([0, 1, 3, 4, 6, 8], key=lambda t: -final[t])
    return kept(softmax(final), allowed[:4])


TOGETHER = together()


@dataclass(frozen=True)
class Case:
    """Parameters, the exact shares of the tokens that they lead to, and a wrong op in place of the right one."""

    params: dict[str, Any]
    shares: Shares
    place: str
    wrong: Callable[..., Any]


SAMPLE, BIAS = ops.sample.mutants, ops.bias_logits.mutants
CASES = {
    "plain": Case({}, PLAIN, "sample", SAMPLE["one seed for all rows"]),
    "temperature": Case(
        {"temperature": 1.7}, softmax([x / 1.7 for x in LOGITS]), "sample", SAMPLE["temperature ignored"]
    ),
    "top-k": Case({"top_k": 4}, kept(PLAIN, RANKED[:4]), "sample", SAMPLE["top-k one too many"]),
    "top-p": Case(
        {"top_p": 0.8},
        kept(PLAIN, until(PLAIN, RANKED, 0.8)),
        "sample",
        SAMPLE["nucleus without the token that completes it"],
    ),
    "min-p": Case(
        {"min_p": 0.3},
        kept(PLAIN, [t for t in RANKED if PLAIN[t] >= 0.3 * max(PLAIN)]),
        "sample",
        SAMPLE["min-p ignored"],
    ),
    "min-p after temperature": Case(
        {"min_p": 0.3, "temperature": 2.0},
        kept(softmax([x / 2 for x in LOGITS]), [t for t in RANKED if LOGITS[t] / 2 >= max(LOGITS) / 2 + math.log(0.3)]),
        "sample",
        SAMPLE["min-p before temperature"],
    ),
    "top-p of top-k": Case(
        {"top_k": 5, "top_p": 0.75},
        kept(PLAIN, until(kept(PLAIN, RANKED[:5]), RANKED, 0.75)),
        "sample",
        SAMPLE["top-k ignored"],
    ),
    "typical-p": Case(
        {"typical_p": 0.5},
        kept(PLAIN, until(PLAIN, TYPICAL, 0.5)),
        "adjust.typical",
        ops.keep_typical.mutants["without the token that completes the mass"],
    ),
    "typical-p is no nucleus": Case(
        {"typical_p": 0.2},
        kept(PLAIN, until(PLAIN, TYPICAL, 0.2)),
        "adjust.typical",
        ops.keep_typical.mutants["nucleus"],
    ),
    "logit bias": Case(
        {"logit_bias": {0: -1.5, 7: 4.0}},
        softmax([x + {0: -1.5, 7: 4.0}.get(t, 0) for t, x in enumerate(LOGITS)]),
        "adjust.bias",
        BIAS["taken off"],
    ),
    "allowed tokens": Case(
        {"allowed_token_ids": [2, 5, 9]},
        kept(PLAIN, [2, 5, 9]),
        "adjust.mask",
        ops.mask_logits.mutants["last token left alone"],
    ),
    "bad words": Case(
        {"bad_words_token_ids": [[0], [8, 8, 3], [8, 7, 1]]},
        kept(PLAIN, [t for t in range(12) if t not in (0, 3)]),
        "adjust.bias",
        BIAS["row 0 only"],
    ),
    "min_tokens": Case(
        {"min_tokens": 9}, kept(PLAIN, [t for t in range(12) if t != END]), "adjust.bias", BIAS["row 0 only"]
    ),
    "repetition penalty": Case(
        {"repetition_penalty": 1.8},
        repeated(1.8),
        "adjust.penalize",
        ops.penalize.mutants["negative logits divided too"],
    ),
    "frequency penalty": Case(
        {"frequency_penalty": 0.5},
        softmax([x - 0.5 * OUTPUT.count(t) for t, x in enumerate(LOGITS)]),
        "adjust.penalize",
        ops.penalize.mutants["prompt counts as output"],
    ),
    "all in their order": Case(
        {
            "logit_bias": {0: -1.5, 3: 2.0},
            "repetition_penalty": 1.8,
            "frequency_penalty": 0.5,
            "allowed_token_ids": [0, 1, 3, 4, 6, 8],
            "temperature": 1.7,
            "top_k": 4,
        },
        TOGETHER,
        "adjust.bias",
        lambda logits, rows, tokens, biases: logits,
    ),
    "presence penalty": Case(
        {"presence_penalty": 1.5},
        softmax([x - 1.5 * (t in OUTPUT) for t, x in enumerate(LOGITS)]),
        "adjust.penalize",
        ops.penalize.mutants["presence and frequency exchanged"],
    ),
}


def sequences(params: dict[str, Any], rows: int) -> list[Sequence]:
    """As many sequences that are about to draw their fifth token."""
    wanted = SamplingParams(**{"temperature": 1.0, "max_tokens": 50, **params})
    made = [Sequence(Request(f"{i}", PROMPT, wanted), 0, i, 50, 1000 + i, ends=frozenset({END})) for i in range(rows)]
    for sequence in made:
        sequence.tokens.extend(OUTPUT)
        sequence.computed = len(sequence.tokens)
    return made


@pytest.fixture
def sampler() -> Sampler:
    """With the kernels that the CPU's engine has."""
    return Sampler(Binder(plugins().registry, Target.of("cpu", torch.float32)), len(LOGITS))


def draw(sampler: Sampler, params: dict[str, Any]) -> Counter[int]:
    rows = torch.tensor([LOGITS]).expand(DRAWS, -1).clone()
    drawn = sampler(rows, sequences(params, DRAWS))
    return Counter(drawn.read(drawn.tensors).tokens)


def excess(found: Counter[int], shares: Shares) -> float:
    """Chi-square over what it may be once in a million times: above 1 the shares are not these."""
    if any(shares[token] == 0 for token in found):
        return math.inf
    draws = found.total()
    expected = {token: draws * share for token, share in enumerate(shares) if share}
    square = sum((found[token] - e) ** 2 / e for token, e in expected.items())
    free = max(len(expected) - 1, 1)
    return square / (free * (1 - 2 / (9 * free) + 4.75 * math.sqrt(2 / (9 * free))) ** 3)


@pytest.mark.parametrize("name", CASES)
def test_shares_are_exact(sampler: Sampler, name: str) -> None:
    assert excess(draw(sampler, CASES[name].params), CASES[name].shares) < 1


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_sampler_is_told_apart(sampler: Sampler, name: str) -> None:
    place, _, leaf = CASES[name].place.rpartition(".")
    setattr(getattr(sampler, place) if place else sampler, leaf, CASES[name].wrong)
    found = draw(sampler, CASES[name].params)
    assert excess(found, CASES[name].shares) > 1


PLAIN_CASES = [name for name, case in CASES.items() if case.place == "sample"]


@pytest.mark.parametrize("name", PLAIN_CASES)
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_plain_rows_have_the_same_shares(name: str, right: bool) -> None:
    case, draws = CASES[name], Draw(Binder(plugins().registry, Target.of("cpu", torch.float32)))
    if not right:
        draws.sample = case.wrong
    wanted = SamplingParams(**{"temperature": 1.0, **case.params})
    one = torch.ones(DRAWS)
    settings = (
        one * wanted.temperature,
        (one * wanted.top_k).long(),
        one * wanted.top_p,
        one * wanted.min_p,
        torch.arange(DRAWS),
    )
    tokens, _ = draws(torch.tensor([LOGITS]).expand(DRAWS, -1).clone(), settings, torch.full((DRAWS,), 4))
    assert (excess(Counter(tokens.tolist()), case.shares) < 1) == right


PAIRS = [a * b for a in PLAIN for b in PLAIN]


def pairs(sampler: Sampler, change: Callable[[list[Sequence], list[Sequence]], None]) -> Counter[int]:
    """What two rows draw that differ as little as `change` makes them."""
    first, second = sequences({}, DRAWS), sequences({}, DRAWS)
    change(first, second)
    rows = torch.tensor([LOGITS]).expand(DRAWS, -1)
    ones, others = (sampler(rows.clone(), made).tokens.tolist() for made in (first, second))
    return Counter(a * len(LOGITS) + b for a, b in zip(ones, others, strict=True))


def next_seed(first: list[Sequence], second: list[Sequence]) -> None:
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        a.seed, b.seed = 2 * i, 2 * i + 1


def next_position(first: list[Sequence], second: list[Sequence]) -> None:
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        a.seed = b.seed = 5
        a.computed, b.computed = a.prompt + 2 * i, a.prompt + 2 * i + 1


@pytest.mark.parametrize("change", [next_seed, next_position])
def test_neighbouring_seeds_and_positions_draw_independently(
    sampler: Sampler, change: Callable[[list[Sequence], list[Sequence]], None]
) -> None:
    assert excess(pairs(sampler, change), PAIRS) < 1


@pytest.mark.parametrize(("change", "cut"), [(next_seed, 5), (next_position, 6)])
def test_draws_that_hang_together_are_told_apart(
    sampler: Sampler, change: Callable[[list[Sequence], list[Sequence]], None], cut: int
) -> None:
    right = sampler.sample

    def wrong(*flow: torch.Tensor) -> torch.Tensor:
        return right(*flow[:cut], flow[cut] // 2, *flow[cut + 1 :])

    sampler.sample = wrong
    assert excess(pairs(sampler, change), PAIRS) > 1


def test_every_position_draws_anew(sampler: Sampler) -> None:
    again, later = sequences({}, 50), sequences({}, 50)
    for sequence in later:
        sequence.computed += 1
    first, second = (sampler(torch.tensor([LOGITS]).repeat(50, 1), s).tokens.tolist() for s in (again, later))
    assert first != second
