"""Block shapes of the product kernels, by shape of the weight and number of rows; docs/notes has the measurements."""

from __future__ import annotations

from ...registry import Target
from .launch import power
from .matrix import MOST_TOGETHER, Matrix

SHARED = 208 * 1024  # bytes that a program may use for its pipeline
SHARED_SMALL = 96 * 1024  # on parts before Hopper
SHARED_FP32 = 160 * 1024  # of 32-bit numbers, whose products take some of it for themselves


def choose(target: Target, matrix: Matrix, rows: int, *, pairs: bool = False) -> dict[str, int]:
    """BR weight rows times BK columns a program, SPLITS programs for all columns, warps, pipeline stages.

    Pairs need an even BR.
    """
    outputs, columns = matrix.rows, matrix.columns
    if rows == 1:
        return one_packed(matrix) if matrix.packed else one_row(columns, outputs, pairs)
    if matrix.packed:
        return fitted(target, several_packed(matrix, rows), min(rows, MOST_TOGETHER))
    wide = (up_to_16 if rows <= 16 else up_to_32 if rows <= 32 else up_to_64)(outputs, columns, pairs)
    return fitted(target, wide | {"BK": min(power(columns, 32), wide["BK"])}, min(rows, MOST_TOGETHER))


def any_rows(target: Target, matrix: Matrix) -> dict[str, int]:
    """One shape for every number of rows, so that a row is summed in the same order whatever stands beside it."""
    outputs = 64 if matrix.rows >= 8192 else 16
    choice = {"BR": outputs, "BK": min(power(matrix.columns, 32), 128), "STAGES": 4, "SPLITS": 1, "num_warps": 4}
    return fitted(target, choice, MOST_TOGETHER)


def up_to_16(outputs: int, columns: int, pairs: bool) -> dict[str, int]:
    """Weights alone weigh: as many bytes on their way as shared memory holds."""
    if outputs >= 65536:
        return {"BR": 64, "BK": 128, "STAGES": 4, "num_warps": 4}
    if outputs >= 8192:
        return {"BR": 64, "BK": 256, "STAGES": 3, "num_warps": 4}
    if pairs and columns <= 2048:
        return {"BR": 16, "BK": 256, "STAGES": 6, "num_warps": 2}
    shares = 1 if pairs or outputs > 2048 else 2
    return {"BR": 16, "BK": 512, "STAGES": 4, "SPLITS": shares, "num_warps": 2}


def up_to_32(outputs: int, columns: int, pairs: bool) -> dict[str, int]:
    """Activations weigh as much as weights: more weight rows share them, and long rows are cut to fill the chip."""
    if outputs >= 8192:
        return {"BR": 128, "BK": 128, "STAGES": 4, "num_warps": 8}
    if columns > 4096:
        return {"BR": 32, "BK": 256, "STAGES": 4, "SPLITS": 4, "num_warps": 4}
    return {"BR": 32, "BK": 512, "STAGES": 3, "num_warps": 4}


def up_to_64(outputs: int, columns: int, pairs: bool) -> dict[str, int]:
    """Tiles for the tensor cores' widest instructions."""
    if outputs >= 8192:
        return {"BR": 128, "BK": 128, "STAGES": 4, "num_warps": 8}
    shares = 2 if outputs <= 4096 else 1
    return {"BR": 64, "BK": 128, "STAGES": 4, "SPLITS": shares, "num_warps": 4}


def one_row(columns: int, outputs: int, pairs: bool) -> dict[str, int]:
    """Registers hold the tile, so that long rows are cut and short ones are not."""
    if columns > 8192 or (pairs and columns > 2048):
        return {"BR": 4, "BK": 2048, "STAGES": 1, "num_warps": 4}
    if columns > 4096:
        return {"BR": 4, "BK": 1024, "STAGES": 1, "num_warps": 2}
    if pairs and outputs >= 8192:
        return {"BR": 8, "BK": min(power(columns, 16), 512), "STAGES": 1, "num_warps": 2}
    if pairs:
        return {"BR": 4, "BK": min(power(columns, 16), 1024), "STAGES": 1, "num_warps": 2}
    return {"BR": 4, "BK": min(power(columns, 16), 2048), "STAGES": 1, "num_warps": 4}


def one_packed(matrix: Matrix) -> dict[str, int]:
    """Unpacking is most of the work, so that more weight rows share an activation's reads where there are many."""
    many = matrix.format == "int4" and matrix.rows >= 8192
    return {"BR": 8 if many else 4, "BK": min(power(matrix.columns, 32), 2048), "STAGES": 1, "num_warps": 4}


def several_packed(matrix: Matrix, rows: int) -> dict[str, int]:
    """As many shares of the columns as give every multiprocessor some programs, each with work for its pipeline."""
    wide, programs = matrix.rows >= 8192, 512
    if rows <= 16:
        tile = {"BR": 64, "BK": 128, "STAGES": 3}
    else:
        tile = {"BR": 64, "BK": 64, "STAGES": 4} if wide else {"BR": 32, "BK": 128, "STAGES": 3}
    tile |= {"BK": min(power(matrix.columns, 32), tile["BK"]), "num_warps": 4}
    blocks, steps = -(-matrix.rows // tile["BR"]), matrix.columns // tile["BK"]
    return tile | {"SPLITS": power(max(min(programs // blocks, steps // 4, 8), 1))}


def ours(columns: int) -> int:
    """For up to how many rows a plain product is faster here than in a library, by the length of the weight's rows."""
    return 16 if columns <= 4096 else 32 if columns <= 8192 else 64


def fitted(target: Target, choice: dict[str, int], rows: int) -> dict[str, int]:
    """The choice with fewer columns or stages, where its tiles of weights and activations exceed shared memory."""
    large = SHARED if target.dtype.itemsize == 2 else SHARED_FP32
    limit = large if target.sm is None or target.sm >= (9, 0) else SHARED_SMALL
    row_bytes = (choice["BR"] + power(rows, 16)) * target.dtype.itemsize
    while row_bytes * choice["BK"] * choice["STAGES"] > limit:
        choice |= {"BK": choice["BK"] // 2} if choice["BK"] > 128 else {"STAGES": choice["STAGES"] - 1}
    return choice
