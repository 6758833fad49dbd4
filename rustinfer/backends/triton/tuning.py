"""Block shapes of the product kernels, by shape of the weight and number of rows. What was measured is in docs/notes."""

from __future__ import annotations

from .launch import power


def choose(outputs: int, columns: int, rows: int, *, pairs: bool = False) -> dict[str, int]:
    """BR weight rows times BK columns a program, warps, pipeline stages. Pairs need an even BR."""
    if rows == 1:
        return {"BR": 8 if pairs else 4, "BK": min(power(columns, 16), 2048), "STAGES": 1, "num_warps": 4}
    return {"BR": 16, "BK": min(power(columns, 32), 256), "STAGES": 4, "num_warps": 2}
