"""The plan of a decode launch: how a model's shape is cut into chunks, tiles and shares for a GPU's multiprocessors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...registry import Refusal

WARPS = 8  # that multiply; four more serve them: three copy, one tidies
THREADS = (WARPS + 4) * 32
QUAD = 4  # rows of one matrix instruction
MOST_COLUMNS = 3072  # of a tile's row
SHARED = 227 * 1024  # bytes that one block may have
# Bytes a multiprocessor has on their way, by the bits of its weights: more only makes everything else wait longer. And
# the tiles not yet used from which on only so many may be, while it waits for others.
IN_FLIGHT = {16: 72 * 1024, 8: 48 * 1024, 4: 112 * 1024}
PILES = {16: (5, 2), 8: (5, 2), 4: (3, 1)}
PILES_OWN = {8: (5, 2), 4: (4, 1)}  # where a warp has hidden units of its own
# The same, and bytes in place of so many tiles, for one row of a wider model: of its longer layers less is waiting.
NARROW = 2048  # columns
OF_WIDE = {16: (96 * 1024, 5, 48 * 1024), 8: (64 * 1024, 5, 32 * 1024)}
PART = 64  # positions that are not split
SPLITS = 16  # of a sequence's positions
APART = 3  # from more splits than that on, the first has the newest position alone
MANY = 6  # splits asked for at once
TOKENS = {1: 16, 2: 16}  # of a launch at most, by its rows: what is known of each lies in shared memory, and a
TOKENS_OF_MANY = 4  # ring of four rows of the 1B has 88 bytes left
TURNS = 3  # parts of what the blocks tell each other: in use, clean, being cleared
LIMIT = 4_000_000_000  # cycles that any wait may take: two seconds and more


GRAIN = {16: 32, 8: 64, 4: 512}  # columns: of a block; of 4 bits so many that their scales are a whole copy


def chunk(columns: int, grain: int = 32) -> int:
    """The largest part of a row that a tile may hold: a divisor of it, in whole grains; 0 if none is."""
    sizes = [columns // n for n in range(1, columns // grain + 1) if columns % n == 0 and columns // n <= MOST_COLUMNS]
    return next((size for size in sizes if size % grain == 0), 0)


def most(rows: int, blocks: int) -> int:
    """Rows of the largest share."""
    return -(-rows // blocks)


@dataclass(frozen=True)
class Plan:
    """A decoder's shape, the most rows of a step, and the blocks (one on each multiprocessor) that share the work.

    `bits`, `head_bits` and `table_bits` are those of a layer's weights, the head's and the embedding's: 16, 8 or 4.
    `tuned` overrides what is chosen here: AHEAD, PILE, CALM, AT_ONCE, SPLITS, APART, MANY, SLOTS, PAIRED, TENSOR,
    MARKS, LIMIT.
    """

    width: int
    hidden: int
    heads: int
    kv_heads: int
    dim: int
    layers: int
    vocab: int
    page: int
    rows: int
    blocks: int
    bits: int = 16
    head_bits: int = 16
    table_bits: int = 16
    tuned: Mapping[str, int] = field(default_factory=dict)

    threads = THREADS

    @property
    def mixed(self) -> int:
        """Columns of the attention output."""
        return self.heads * self.dim

    @property
    def qkv(self) -> int:
        """Rows of the joint projection."""
        return (self.heads + 2 * self.kv_heads) * self.dim

    @property
    def paired(self) -> int:
        """Blocks that share a layer's rows, each with half of the columns: each asks for half of the activations."""
        half = [-(-most(rows, max(self.blocks // 2, 1)) // 2) for rows in (self.qkv, self.width, self.chunks[2])]
        team = WARPS * 32 // self.rows  # threads that finish a sequence's: one a row, two if it is of gate and up
        fits = self.bits == 16 and self.blocks % 2 == 0 and max(*half, 2 * half[2]) <= team
        alike = len({self.width, self.mixed, *self.chunks}) == 1 and self.chunks[0] % 64 == 0
        return self.tuned.get("PAIRED", 2 if self.rows > 4 else 1) if fits and alike else 1

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Columns of a tile of qkv and gate/up, of the output projection, and of the down projection."""
        grain = max(GRAIN[self.bits], GRAIN[self.head_bits])
        return chunk(self.width, grain), chunk(self.mixed, grain), chunk(self.hidden, grain)

    def tile(self, columns: int, bits: int) -> int:
        """Bytes of a tile: as many quads of rows as make the bytes of one in bf16, and the scales of 4-bit groups."""
        return QUAD * 16 // bits * (columns * bits // 8 + (columns // 64 * 4 if bits == 4 else 0))

    @property
    def places(self) -> int:
        """Cached positions that a warp takes from a tile."""
        return 32 // (self.dim // 16)

    def refusal(self) -> Refusal:
        """Why there is no kernel for this shape, or None."""
        if self.dim not in (64, 128):
            return f"takes heads of 64 or 128 dimensions, not {self.dim}"
        if self.heads // self.kv_heads > WARPS:
            return f"takes up to {WARPS} query heads for each key head, not {self.heads // self.kv_heads}"
        if not all(self.chunks):
            grain = max(GRAIN[self.bits], GRAIN[self.head_bits])
            return f"takes widths in blocks of {grain} columns, not {self.width}, {self.mixed} and {self.hidden}"
        if WARPS * self.places % self.page:
            return f"takes pages of which whole ones make {WARPS * self.places} positions, not of {self.page}"
        if self.layers > 60:
            return f"takes up to 60 layers, not {self.layers}"
        if self.width < self.blocks or self.rows > self.blocks:
            return f"shares {self.width} columns among {self.blocks} multiprocessors, which must be fewer"
        if self.slots < 4:
            return "its tiles do not fit into shared memory four at a time"
        return None

    @property
    def slot(self) -> int:
        """Bytes of a ring slot: the largest tile."""
        tiles = [self.tile(size, self.bits) for size in self.chunks] + [self.tile(self.chunks[0], self.head_bits)]
        return max(*tiles, WARPS * self.places * self.dim * 4)

    @property
    def parts(self) -> int:
        """Rows for which a block keeps partial sums at a time, in whole tiles."""
        return self._parts(self.flushes)

    def _parts(self, flushes: int) -> int:
        """The same if hidden units are told so many times a layer."""
        blocks = self.blocks // self.paired
        pairs = most(self.hidden // flushes, blocks)
        rows = max(most(self.qkv, blocks), most(self.width, blocks), -(-pairs // 2) * QUAD)
        return -(-rows // (4 * QUAD)) * 4 * QUAD  # whole tiles of any format

    @property
    def own(self) -> bool:
        """Whether a warp has hidden units of its own in down, which is one stage: all its tiles fit into the ring."""
        piece = self.hidden // WARPS
        alike = piece % (4 * GRAIN[8]) == 0 and self.chunks[2] % piece == 0 and self.hidden % WARPS == 0
        if self.rows > 1 or self.bits > 8 or not alike:
            return False
        tiles = self.hidden // self.chunks[2] * -(-most(self.width, self.blocks) // (QUAD * 16 // self.bits))
        return tiles < (SHARED - self._fixed(self._parts(1))) // self.slot

    @property
    def flushes(self) -> int:
        """How many times a layer hidden units are told."""
        return 1 if self.own else self.hidden // self.chunks[2]

    @property
    def unit(self) -> int:
        """Words of one share of attention."""
        return self.heads // self.kv_heads * (self.dim + 2)

    @property
    def tensor(self) -> bool:
        """Whether a key head's query heads are rows of matrix instructions: where that is faster."""
        return bool(self.tuned.get("TENSOR", self.dim == 64 and self.rows > 2))

    @property
    def fixed(self) -> int:
        """Bytes of shared memory beside the ring: sums, what is known of the rows, mbarriers."""
        return self._fixed(self.parts)

    def _fixed(self, parts: int) -> int:
        """The same with so many rows of sums."""
        sums = (parts + 4) * self.rows * WARPS
        group = self.heads // self.kv_heads
        merge = self.places * group * (self.dim + 4) + self.dim // 2
        attention = WARPS * 4 if merge <= sums else merge
        if not self.tensor:
            attention = WARPS * (WARPS * self.places // (WARPS // group) + self.dim + 2)
        floats = 2 * sums + attention + WARPS * max(self.rows, 2)
        own = -(-most(self.width, self.blocks // self.paired) // self.paired)
        floats += self.rows * -(-own // 2) * 2 + (2 * (WARPS * 32 + self.rows) + 4 if self.paired > 1 else 0)
        return 4 * floats + 8 * (2 * 16 + 3) + 32 * self.rows * (self.tokens + 1) + 16

    @property
    def tokens(self) -> int:
        """The most in a launch."""
        return TOKENS.get(self.rows, TOKENS_OF_MANY)

    @property
    def slots(self) -> int:
        """Tiles that the ring holds."""
        return self.tuned.get("SLOTS", min((SHARED - self.fixed) // self.slot, 16))

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        return self.slots * self.slot + self.fixed

    @property
    def exchange(self) -> int:
        """Words that the blocks tell each other in one layer."""
        words = self.rows * self.qkv + self.blocks * self.unit
        return -(-(words + self.rows * (2 * self.width + self.mixed + self.hidden) // 2) // 4) * 4

    @property
    def winners(self) -> int:
        """Words in which the blocks tell each other the best of their logits."""
        return -(-2 * self.rows * self.blocks // 4) * 4

    @property
    def lone(self) -> bool:
        """Whether it is for one row of a wider model, whose weights are bound by memory."""
        return self.rows == 1 and self.width > NARROW and self.bits in OF_WIDE

    @property
    def caps(self) -> tuple[int, int, int]:
        """Bytes on their way at most; tiles not yet used from which on, while it waits, only so many tiles may be."""
        if self.lone:
            flight, pile, calm = OF_WIDE[self.bits]
            return flight, pile, max(calm // self.tile(self.chunks[0], self.bits), 2)
        return IN_FLIGHT[self.bits], *(PILES_OWN if self.own else PILES)[self.bits]

    @cached_property
    def defines(self) -> dict[str, int]:
        """What the kernel's source is compiled with."""
        width, mixed, hidden = self.chunks
        flight, pile, calm = self.caps
        tile, down = self.tile(width, self.bits), self.tile(hidden, self.bits)
        ahead = self.tuned.get("AHEAD", min(max(flight // tile, 2), self.slots - 1))
        down_ahead = min(ahead * max(tile, down) // down, self.slots - 1) if self.lone else ahead
        return {
            "GRID": self.blocks, "ROWS": self.rows, "WIDTH": self.width, "HIDDEN": self.hidden, "HEADS": self.heads,
            "KV_HEADS": self.kv_heads, "DIM": self.dim, "LAYERS": self.layers, "VOCAB": self.vocab, "PAGE": self.page,
            "BITS": self.bits, "HEAD_BITS": self.head_bits, "TABLE_BITS": self.table_bits,
            "WIDTH_CHUNK": width // self.paired, "MIXED_CHUNK": mixed // self.paired, "PAIRED": self.paired,
            "HIDDEN_CHUNK": hidden // self.paired, "HEAD_CHUNK": width, "SLOTS": self.slots, "SLOT": self.slot,
            "PARTS": self.parts, "AHEAD": ahead, "DOWN_AHEAD": down_ahead,
            "PILE": min(pile, self.slots - 1), "CALM": min(calm, ahead),
            "PART_PAGES": max(PART, WARPS * self.places) // self.page,
            "AT_ONCE": 4 if self.paired > 1 or (self.bits < 16 and self.rows <= 2) else 2,
            "SPLITS": SPLITS, "APART": APART, "MANY": MANY, "LIMIT": LIMIT, "MARKS": 0, "TOKENS": self.tokens,
            "OWN": int(self.own), "TENSOR": int(self.tensor),
        } | dict(self.tuned)  # fmt: skip
