"""What a step takes at least, against numbers that were counted by hand."""

from __future__ import annotations

import pytest

from rustinfer.roofline import Floors, Roof

MEMORY = Roof(bandwidth=1e12, rate=1e30)
ARITHMETIC = Roof(bandwidth=1e30, rate=1e15)


def floors(name: str, roof: Roof) -> Floors:
    made = Floors.of(name, roof)
    assert made is not None
    return made


def test_a_token_alone_reads_every_weight_once() -> None:
    # Llama 3.2 1B: 1,235.8 million parameters, of which the tied embedding is the head; 32 KiB of cache a token.
    assert floors("llama-3.2-1b", MEMORY).decode(1, 0) == pytest.approx(2.4716e-3, rel=1e-3)
    assert floors("llama-3.2-1b", MEMORY).decode(256, 512) == pytest.approx((2.4716e9 + 256 * 512 * 32768) / 1e12, 1e-3)
    # Llama 3.1 8B: 8,030 million, less the embedding's 525, of which a token reads a row.
    assert floors("llama-3.1-8b", MEMORY).decode(1, 0) == pytest.approx(15.01e-3, rel=1e-3)


def test_a_prompt_multiplies_every_row_and_the_last_one_with_the_head() -> None:
    assert floors("llama-3.2-1b", ARITHMETIC).prompt(2048) == pytest.approx(4.26e-3, rel=5e-3)
    assert floors("llama-3.2-1b", ARITHMETIC).prompt(8192) == pytest.approx(20.3e-3, rel=5e-3)


def test_other_models_have_no_floor_that_is_known() -> None:
    assert Floors.of("smollm2", MEMORY) is None
