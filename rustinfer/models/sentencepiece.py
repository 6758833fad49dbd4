"""SentencePiece's BPE vocabularies have scores and no merges: the merges that they imply."""

from __future__ import annotations

from collections.abc import Sequence

_NORMAL, _USER = 1, 4


def merges_by_score(tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Every pair of tokens that makes up a third, in the order in which SentencePiece would join them.

    SentencePiece joins the neighbours whose joint piece scores best, and of equals the leftmost.
    """
    pieces = {
        token: (score, i)
        for i, (token, kind, score) in enumerate(zip(tokens, types, scores, strict=True))
        if kind in (_NORMAL, _USER)
    }
    found: list[tuple[float, int, int, int, tuple[str, str]]] = []
    for token, (score, i) in pieces.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in pieces and right in pieces:
                found.append((-score, i, pieces[left][1], pieces[right][1], (left, right)))
    return [pair for *_, pair in sorted(found)]
