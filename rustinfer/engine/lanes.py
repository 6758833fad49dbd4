"""What the device knows of each running sequence: a row of every array here, and the host's copy of it."""

from __future__ import annotations

from collections.abc import Sequence as Items
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from .plain import is_plain
from .plan import Plan
from .sequence import Sequence
from .staging import Staging

FIELDS = 6
UPDATES = 1024
"""Changes of the page table that travel in one copy, padding included: a prompt of 16,000 tokens has as many pages."""


class Lanes:
    """State that stays on the device while a sequence runs, at addresses that never change.

    `drawn` int64 [N + 1] holds the newest token of each row, and of the row `nobody` that padding has; `pages` int32
    [N, P] its pages. `position` (of the newest token in the cache; -1: the row takes no part), `begin` (where its
    output begins), `top_k`, `seed`, all int64 [N], and `temperature`, `top_p`, `min_p`, float32 [N], are views of one
    buffer. That is sent whole, and only where something changed that the device does not know by itself: a step moves
    `position` on both sides. `batch`, int64 [more], is for what a step with prompts sends along.
    """

    def __init__(self, sequences: int, pages: int, page_size: int, device: torch.device, more: int = 0) -> None:
        self.page_size, self.device = page_size, device
        self.table = np.zeros((sequences, pages), np.int32)
        self._cells = self.table.reshape(-1)
        self._flat = torch.zeros(sequences * pages + 1, dtype=torch.int32, device=device)  # the last is for padding
        self.pages = self._flat[:-1].view(sequences, pages)
        self.nobody = sequences
        self.drawn = torch.zeros(sequences + 1, dtype=torch.int64, device=device)
        self.drawn_at = np.full(sequences, -1)  # the number of the token that `drawn` holds; -1: of none
        self.widths = np.zeros(sequences, np.int64)
        self._special = np.zeros(sequences, np.bool_)
        self._host = np.zeros((FIELDS, sequences), np.int64)
        self._fields = self._host.reshape(-1)
        self._position, self._begin, self._top_k, self._seed = self._host[:4]
        floats = self._host[4:].view(np.float32)
        self._temperature, self._top_p, self._min_p = floats[0, :sequences], floats[0, sequences:], floats[1]
        self._due: list[tuple[int, int]] = []  # places in the page table, first and count, yet to be sent
        self._sent = np.zeros(0, np.int64)  # places that were sent last
        self._moves: list[tuple[int, int]] = []
        self._followed: list[Sequence] | None = None
        ends = list(accumulate([FIELDS * sequences, UPDATES, -(-UPDATES // 2), more]))
        self._parts = [slice(start, stop) for start, stop in pairwise([0, *ends])]
        self._staging = Staging(ends[-1] + 2 * sequences, device)
        self._places, pages_there, self.batch = (self._staging.buffer[part] for part in self._parts[1:])
        self._pages = pages_there.view(torch.int32)[:UPDATES]
        block = self._staging.buffer[: FIELDS * sequences].view(FIELDS, sequences)
        self.position, self.begin, self.top_k, self.seed = block[:4]
        self.temperature, self.top_p = block[4].view(torch.float32).view(2, sequences)
        self.min_p = block[5].view(torch.float32)[:sequences]
        self.settings = self.temperature, self.top_k, self.top_p, self.min_p, self.seed
        self.draws = self.drawn, self.position, self.begin, self.temperature, self.seed
        self.all = torch.arange(sequences, device=device)
        self.rows = np.zeros(0, np.int64)
        self.count, self.mode = 0, (True, True)
        self.in_order = True
        self.rest()

    def index(self) -> Tensor:
        """The lanes of the sequences that are followed, in their order, int64. May wait for the device."""
        return self.all[: self.count] if self.in_order else torch.from_numpy(self.rows).to(self.device)

    def width(self, rows: np.ndarray) -> int:
        """Pages of the longest of these lanes' sequences."""
        return int(self.widths[rows].max())

    def follow(self, plan: Plan) -> None:
        """Bring the page table and the rows' owners up to date with a plan.

        If it only decodes, its sequences are `rows` from here on, each about to go `count` tokens on from its last. If
        not, the device hears of it with the batch, which the host has yet to `send`: one copy is soonest there.
        """
        self._moves += self._moved(plan)
        self._tabulate(plan.touched)
        new = not plan.chunks and plan.decodes is not self._followed
        if new:
            self._regard(plan)
        if new or (not plan.chunks and (self._moves or self._due)):
            with torch.inference_mode():
                self.next()
                self.send(0)
                self.tabulate()
                for i in self.stale(plan, self.rows) if new else ():
                    sequence = plan.decodes[i]
                    self.drawn[sequence.row] = sequence.tokens[sequence.computed - plan.count]
        self._followed = None if plan.chunks else plan.decodes

    def advanced(self, count: int = 1) -> None:
        """Their step has been launched: the device has moved on by so many tokens, and holds what they draw."""
        self._position[self.rows] = at = self._position[self.rows] + count
        self.drawn_at[self.rows] = at + 1

    def rest(self) -> None:
        """No lane takes part until the next plan: what runs meanwhile, as it is recorded, writes nowhere."""
        self._position[:] = -1
        self.position.fill_(-1)
        self._followed = None

    def forget(self, plan: Plan) -> None:
        """Nobody knows how far a plan has come: tell the device anew, its tokens and what was sent last included."""
        self._followed = None
        self.drawn_at[[sequence.row for sequence in plan.sequences()]] = -1
        self._due = [(place, 1) for place in self._sent.tolist()] + self._due

    def stale(self, plan: Plan, rows: np.ndarray) -> list[int]:
        """Which of a plan's decoding sequences' newest tokens are not in `drawn`: the host knows them."""
        at = np.array([sequence.computed - plan.count for sequence in plan.decodes], np.int64)
        wrong: list[int] = (self.drawn_at[rows] != at).nonzero()[0].tolist()
        return wrong

    def plain(self, rows: np.ndarray) -> bool:
        """Whether `Draw` is all that these rows need."""
        return not self._special[rows].any()

    def greedy(self, rows: np.ndarray) -> bool:
        """Whether all of these rows are greedy."""
        return not self._temperature[rows].any()

    def put(self, lanes: Tensor, tokens: Tensor, vocab: int) -> None:
        """Keep what these lanes draw, int64 [K] both, for the next step: always a token, whatever a kernel says."""
        self.drawn.index_copy_(0, lanes, tokens.clamp(0, vocab - 1))

    def _regard(self, plan: Plan) -> None:
        self.rows = rows = np.array([sequence.row for sequence in plan.decodes], np.int64)
        self._position[:] = -1
        self._position[rows] = [sequence.computed - 1 - plan.count for sequence in plan.decodes]
        self.count = int(rows.max()) + 1
        self.in_order = bool((rows == np.arange(len(rows))).all())
        self.mode = self.plain(rows), self.greedy(rows)

    def _moved(self, plan: Plan) -> list[tuple[int, int]]:
        """Rows that others move into. Told once, whoever asks."""
        moves = plan.moves[:]
        plan.moves.clear()
        for source, target in moves:
            self.drawn_at[target] = self.drawn_at[source]
        if moves:
            self._followed = None
        return moves

    def _tabulate(self, touched: Items[Sequence]) -> None:
        for sequence in touched:  # some of them twice
            row, pages, tabled = sequence.row, sequence.pages, sequence.tabled
            if row < 0 or tabled == len(pages):
                continue
            if not tabled:
                self._own(sequence)
            self.table[row, tabled : len(pages)] = pages[tabled:]
            self._due.append((row * self.table.shape[1] + tabled, len(pages) - tabled))
            self.widths[row] = sequence.tabled = len(pages)

    def _own(self, sequence: Sequence) -> None:
        row, p = sequence.row, sequence.request.sampling
        self._begin[row], self._top_k[row], self._seed[row] = sequence.prompt, p.top_k, sequence.seed
        self._temperature[row], self._top_p[row], self._min_p[row] = p.temperature, p.top_p, p.min_p
        self._special[row] = not is_plain(p)

    def next(self, inside: bool = False) -> np.ndarray:
        """Where to write the batch that `send` sends next, or, `inside`, that a graph takes, which holds `take`."""
        self._relieve()
        return self._next(inside)[self._parts[3]]

    def send(self, items: int, inside: bool = False) -> None:
        """Send the first `items` of the batch that was written to `next()`, and with it what is due.

        The page table has it once `tabulate` has run.
        """
        if inside and not self._moves:
            return
        with torch.inference_mode():
            self._send(items)

    def _send(self, items: int) -> None:
        moved, end = len(self._moves), self._parts[3].start + items
        if moved:
            self._staging.now()[end : end + 2 * moved] = np.array(self._moves, np.int64).T.reshape(-1)
        self._staging.send(end + 2 * moved)
        if moved:
            source, target = self._staging.buffer[end : end + 2 * moved].view(2, moved)
            self.drawn.index_copy_(0, target, self.drawn[source])
            self._moves = []

    def take(self, items: int) -> None:
        """Take the first `items` of the batch that was written to `next(inside=True)`, and what was due."""
        self._staging.take(self._parts[3].start + items)

    def tabulate(self) -> None:
        """Bring the device's page table up to date with what was sent last; a graph may hold this."""
        self._flat.index_copy_(0, self._places, self._pages)

    def taken(self) -> None:
        """Wait until what was written to `next(inside=True)` was taken."""
        self._staging.taken()

    def launched(self) -> None:
        """All that reads what was sent has been launched."""
        self._staging.mark()

    def _relieve(self) -> None:
        """Send what is due as far as it does not fit beside a batch."""
        while sum(count for _, count in self._due) > UPDATES:
            self._next()
            with torch.inference_mode():
                self._staging.send(self._parts[3].start)
                self.tabulate()

    def _next(self, inside: bool = False) -> np.ndarray:
        """The next array to send, with the fields in it, and as much of what is due as fits."""
        to, places = self._staging.next(inside), spread(self._due)
        self._sent = some = places[:UPDATES]
        fields, where, what = self._parts[:3]
        to[fields] = self._fields
        to[where] = len(self._cells)
        to[where.start : where.start + len(some)] = some
        to[what].view(np.int32)[: len(some)] = self._cells[some]
        self._due = [(place, 1) for place in places[UPDATES:].tolist()] if len(places) > UPDATES else []
        return to


def spread(ranges: list[tuple[int, int]]) -> np.ndarray:
    """All numbers of ranges that are told by their first and their count."""
    if len(ranges) == 1:  # a prompt alone waits for this
        return np.arange(ranges[0][0], ranges[0][0] + ranges[0][1])
    firsts, counts = np.array(ranges, np.int64).reshape(-1, 2).T
    ends = counts.cumsum()
    return np.repeat(firsts - ends + counts, counts) + np.arange(counts.sum())
