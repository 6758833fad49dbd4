"""Block shapes of the product kernels, by shape of the weight and number of rows; docs/notes has the measurements."""

from __future__ import annotations

from ...registry import Target
from .launch import power
from .matrix import MOST_TOGETHER, Matrix

SHARED = 160 * 1024  # bytes that a program may use for its pipeline; parts before Hopper have less
SHARED_SMALL = 96 * 1024


def choose(target: Target, matrix: Matrix, rows: int, *, pairs: bool = False) -> dict[str, int]:
    """BR weight rows times BK columns a program, SPLITS programs for all columns, warps, pipeline stages.

    Pairs need an even BR.
    """
    outputs, columns = matrix.rows, matrix.columns
    if rows == 1:
        return one_row(columns, outputs, pairs)
    if outputs >= 65536:
        wide = {"BR": 64, "BK": 128, "STAGES": 4, "num_warps": 4}
    elif outputs >= 8192:
        wide = {"BR": 64, "BK": 256, "STAGES": 3, "num_warps": 4}
    elif rows > 32:
        wide = {"BR": 64, "BK": 128, "STAGES": 4, "SPLITS": 2, "num_warps": 4}
    elif rows > 16 and columns > 4096:
        wide = {"BR": 32, "BK": 256, "STAGES": 4, "SPLITS": 4, "num_warps": 4}
    elif rows > 16:  # the activations weigh as much as the weights: more weight rows share them
        wide = {"BR": 32, "BK": 512, "STAGES": 3, "num_warps": 4}
    else:
        wide = {"BR": 16, "BK": 512, "STAGES": 4, "SPLITS": 2 if columns > 4096 else 1, "num_warps": 2}
    return fitted(target, wide | {"BK": min(power(columns, 32), wide["BK"])}, min(rows, MOST_TOGETHER))


def one_row(columns: int, outputs: int, pairs: bool) -> dict[str, int]:
    """Registers hold the tile, so that long rows are cut and short ones are not."""
    if columns > 8192:  # more steps than that, unrolled, would not fit into registers
        return {"BR": 4, "BK": 4096, "STAGES": 1, "num_warps": 8}
    if columns > 4096:
        return {"BR": 4, "BK": 1024, "STAGES": 1, "num_warps": 2}
    if pairs and outputs >= 8192:
        return {"BR": 8, "BK": min(power(columns, 16), 512), "STAGES": 1, "num_warps": 2}
    if pairs:
        return {"BR": 4, "BK": min(power(columns, 16), 1024), "STAGES": 1, "num_warps": 2}
    return {"BR": 4, "BK": min(power(columns, 16), 2048), "STAGES": 1, "num_warps": 4}


def fitted(target: Target, choice: dict[str, int], rows: int) -> dict[str, int]:
    """The choice with fewer columns or stages, where its tiles of weights and activations exceed shared memory."""
    limit = SHARED if target.sm is None or target.sm >= (9, 0) else SHARED_SMALL
    row_bytes = (choice["BR"] + power(rows, 16)) * target.dtype.itemsize
    while row_bytes * choice["BK"] * choice["STAGES"] > limit:
        choice |= {"BK": choice["BK"] // 2} if choice["BK"] > 128 else {"STAGES": choice["STAGES"] - 1}
    return choice
