from __future__ import annotations

import math

import pytest
import torch

from rustinfer.ops.philox import WORD, gumbel, philox

# The known answers that Random123 publishes for philox4x32-10.
VECTORS = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD, WORD, WORD, WORD), (WORD, WORD), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


def words(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    c0, c1, c2, c3 = (torch.tensor(word) for word in counter)
    return tuple(int(word) for word in philox((c0, c1, c2, c3), (torch.tensor(key[0]), torch.tensor(key[1]))))


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert words(counter, key) == answer


def test_noise_of_one_token_by_hand() -> None:
    seed, position, token = -5, 2**33 + 9, 6
    counter = (token // 4, 0, position & WORD, position >> 32)
    word = words(counter, (seed & WORD, (seed >> 32) & WORD))[token % 4]
    expected = -math.log(-math.log(((word >> 8) + 0.5) / 2**24))
    assert gumbel(torch.tensor([seed]), torch.tensor([position]), 7)[0, token].item() == pytest.approx(
        expected, rel=1e-12
    )


def test_a_row_depends_on_its_seed_and_position_alone() -> None:
    seeds, positions = torch.tensor([1, 2, 1, 1]), torch.tensor([5, 5, 6, 5])
    noise = gumbel(seeds, positions, 103)
    assert torch.equal(noise[0], noise[3])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    assert torch.equal(gumbel(seeds[2:3], positions[2:3], 103)[0], noise[2])


def test_a_larger_vocabulary_extends_the_noise() -> None:
    seed, position = torch.tensor([3]), torch.tensor([4])
    assert torch.equal(gumbel(seed, position, 9), gumbel(seed, position, 1000)[:, :9])


def test_noise_has_the_moments_of_the_gumbel_distribution() -> None:
    noise = gumbel(torch.arange(50), torch.arange(50) * 7, 4000)
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.02)


def test_the_largest_word_gives_finite_noise() -> None:
    noise = gumbel(torch.tensor([7]), torch.tensor([4817124]), 8)
    assert noise[0, 5].item() == pytest.approx(-math.log(-math.log1p(-(2.0**-25))), rel=1e-9)
