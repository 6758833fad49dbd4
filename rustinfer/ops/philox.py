"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011), bit for bit what Triton's `tl.philox` gives."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four random 32-bit words for each counter (four words) and key (two words: seed low, seed high).

    All of them int64 tensors that hold values in [0, 2^32) and broadcast together.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap modulo 2^64, which leaves all 64 bits of the unsigned product in place.
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = (second >> 32 & WORD) ^ c1 ^ k0, second & WORD
        c2, c3 = (first >> 32 & WORD) ^ c3 ^ k1, first & WORD
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    return c0, c1, c2, c3


def gumbel(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """Gumbel noise [R, vocab] in float64: row r depends on seeds[r] and positions[r] (int64) alone.

    Token i takes word i % 4 of counter (i // 4, 0, position low, position high) under the seed as key;
    u = ((word >> 8) + 0.5) / 2^24 and the noise is -log(-log(u)). That u needs 25 bits: rounded to float32 it can
    become 1, and the noise infinite. Float32 kernels keep it exact with log(u) where word < 2^31 and log1p(-v)
    elsewhere, v = 1 - u = ((~word >> 8) + 0.5) / 2^24.
    """
    index = torch.arange(-(-vocab // 4), device=seeds.device)
    low, high = positions[:, None] & WORD, positions[:, None] >> 32 & WORD
    key = (seeds[:, None] & WORD, seeds[:, None] >> 32 & WORD)
    words = philox((index[None], torch.zeros_like(index)[None], low, high), key)
    bits = torch.stack(words, -1).flatten(1)[:, :vocab] >> 8
    return -torch.log(-torch.log((bits.double() + 0.5) * 2.0**-24))
