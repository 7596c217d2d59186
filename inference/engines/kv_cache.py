"""Where keys and values live: a row per running sequence, in tables that grow with the sequences.

A table holds sequences of about the same length, so that a long one costs the short ones neither
memory nor attention. A sequence moves to the next table when it outgrows its own. Used by the
batching loop and, for one step at a time, by the decoders.
"""

import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engines import own_memory

FIRST_ROWS = 4


class NoRoom(Exception):
    """The memory limit does not allow this sequence (or this token of it) now."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of one token's keys and values."""

    layers: int
    kv_heads: int
    key_dim: int
    value_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        width = self.kv_heads * (self.key_dim + self.value_dim)
        return self.layers * width * self.dtype.itemsize

    def empty(self, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Keys and values, each (layers, rows, kv_heads, tokens, dim), all zero."""
        return self.part(rows, tokens, self.key_dim), self.part(rows, tokens, self.value_dim)

    def part(self, rows: int, tokens: int, dim: int) -> Tensor:
        """Either of them. Zero and not merely allocated: a masked NaN would still reach the sum over values."""
        shape = (self.layers, rows, self.kv_heads, tokens, dim)
        return own_memory.zeros(shape, self.dtype, self.device)


class Stage:
    """The keys and values of one prompt while it is computed, and of a kept prefix afterwards."""

    def __init__(self, layout: Layout, tokens: int, exact_tokens: int = 0) -> None:
        """`exact_tokens` of the first ones are, to the bit, what a request alone would compute."""
        self.layout, self.exact_tokens = layout, exact_tokens
        self.keys, self.values = layout.empty(1, tokens)  # (layers, 1, kv_heads, tokens, dim)

    @property
    def tokens(self) -> int:
        return self.keys.shape[3]

    @property
    def nbytes(self) -> int:
        return self.tokens * self.layout.token_bytes

    def copy_from(self, other: "Stage", tokens: int) -> None:
        """Take over the first tokens of another prompt, into a stage that has none yet."""
        self.keys[:, :, :, :tokens] = other.keys[:, :, :, :tokens]
        self.values[:, :, :, :tokens] = other.values[:, :, :, :tokens]


@dataclass(eq=False)
class Seat:
    """A running sequence's row; `Table` keeps it true while rows move."""

    table: "Table"
    row: int
    length: int  # tokens whose keys and values are in the row
    exact_tokens: int = 0  # as the stage that it came from


@dataclass(eq=False)
class Table:
    """Rows for sequences of up to `capacity` tokens. Invariant: rows 0..len(seats)-1 are in use."""

    layout: Layout
    capacity: int
    seats: list[Seat] = field(default_factory=list)
    keys: Tensor | None = None  # (layers, rows, kv_heads, capacity, key_dim)
    values: Tensor | None = None

    @property
    def rows(self) -> int:
        return 0 if self.keys is None else self.keys.shape[1]

    @property
    def nbytes(self) -> int:
        return self.rows * self.row_bytes

    @property
    def row_bytes(self) -> int:
        return self.capacity * self.layout.token_bytes

    @property
    def is_full(self) -> bool:
        return len(self.seats) == self.rows

    def rows_to_add(self, free_bytes: int) -> int:
        """Count the rows to add for one more sequence: as many again, but half of the room is left.

        A table of long rows must not take the room that its sequences need to grow out of it.
        """
        rows = max(FIRST_ROWS, self.rows)
        while rows > 1 and 2 * rows * self.row_bytes > free_bytes:
            rows //= 2
        return rows

    def add(self, length: int, free_bytes: int) -> Seat:
        if self.is_full:
            self._resize(self.rows + self.rows_to_add(free_bytes))
        seat = Seat(self, len(self.seats), length)
        self.seats.append(seat)
        return seat

    def remove(self, seat: Seat) -> None:
        """Free a row; the last row moves into the hole."""
        last = self.seats.pop()
        if last is not seat:
            self._copy_row(last.row, seat.row, last.length)
            last.row = seat.row
            self.seats[seat.row] = last
        if not self.seats:
            self.keys = self.values = None
        elif len(self.seats) * 4 <= self.rows and self.rows > FIRST_ROWS:
            self._resize(self.rows // 2)

    def write(self, seat: Seat, keys: Tensor, values: Tensor, tokens: int) -> None:
        """Fill a row from keys and values of shape (layers, kv_heads, >= tokens, dim)."""
        own_keys, own_values = self.storage()
        own_keys[:, seat.row, :, :tokens] = keys[:, :, :tokens]
        own_values[:, seat.row, :, :tokens] = values[:, :, :tokens]

    def read(self, seat: Seat) -> tuple[Tensor, Tensor]:
        """Give a view of a row: (layers, kv_heads, capacity, dim)."""
        keys, values = self.storage()
        return keys[:, seat.row], values[:, seat.row]

    def storage(self) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            raise RuntimeError("the table has no rows")
        return self.keys, self.values

    def _copy_row(self, source: int, target: int, tokens: int) -> None:
        for part in self.storage():
            part[:, target, :, :tokens] = part[:, source, :, :tokens]

    def _resize(self, rows: int) -> None:
        """First the keys, then the values: half of the table is there twice, and no more."""
        kept = min(rows, self.rows)
        self.keys = self._resized(self.keys, rows, kept, self.layout.key_dim)
        try:
            self.values = self._resized(self.values, rows, kept, self.layout.value_dim)
        except (MemoryError, RuntimeError):
            values = self.values if kept else None
            self.keys = self.keys[:, :kept] if kept else None
            self.values = None if values is None else values[:, :kept]
            raise

    def _resized(self, part: Tensor | None, rows: int, kept: int, dim: int) -> Tensor:
        found = self.layout.part(rows, self.capacity, dim)
        if part is not None:
            found[:, :kept] = part[:, :kept]
        return found


class KvPool:
    """All tables, and the memory limit over them (bytes; 0: none)."""

    def __init__(self, layout: Layout, capacities: list[int], limit_bytes: int = 0) -> None:
        self.layout = layout
        self.limit_bytes = limit_bytes
        self.tables = [Table(layout, capacity) for capacity in capacities]
        self.other_bytes = 0  # held outside of the tables: prompts in work, kept prefixes

    @property
    def nbytes(self) -> int:
        return self.other_bytes + sum(table.nbytes for table in self.tables)

    @property
    def free_bytes(self) -> int:
        return self.limit_bytes - self.nbytes if self.limit_bytes else sys.maxsize

    def seat(self, stage: Stage, tokens: int) -> Seat:
        """Give a sequence its row, with one token of room at least.

        Raises: NoRoom.
        """
        self.need(self.row_bytes(tokens))
        table = self._table_for(tokens + 1)
        seat = table.add(tokens, self.free_bytes)
        table.write(seat, stage.keys[:, 0], stage.values[:, 0], tokens)
        seat.exact_tokens = stage.exact_tokens
        return seat

    def row_bytes(self, tokens: int) -> int:
        """Give what a row for so many tokens and one more adds at least."""
        table = self._table_for(min(tokens + 1, self.tables[-1].capacity))
        return table.row_bytes if table.is_full else 0

    def make_room(self, seat: Seat) -> None:
        """Make sure that one more token fits; may move the sequence to a larger table.

        Raises: NoRoom.
        """
        if seat.length < seat.table.capacity:
            return
        old, row = seat.table, seat.row
        self.need(self.row_bytes(seat.length))
        new = self._table_for(seat.length + 1)
        keys, values = old.read(seat)
        placed = new.add(seat.length, self.free_bytes)
        new.write(placed, keys, values, seat.length)
        leaving = Seat(old, row, seat.length)
        old.seats[row] = leaving
        old.remove(leaving)
        seat.table, seat.row = new, placed.row
        new.seats[placed.row] = seat

    def free(self, seat: Seat) -> None:
        seat.table.remove(seat)

    def need(self, nbytes: int) -> None:
        """Raises: NoRoom if so many bytes more would pass the limit."""
        if self.limit_bytes and self.nbytes + nbytes > self.limit_bytes:
            raise NoRoom

    def clear(self) -> None:
        for table in self.tables:
            table.seats.clear()
            table.keys = table.values = None

    def _table_for(self, tokens: int) -> Table:
        for table in self.tables:
            if tokens <= table.capacity:
                return table
        raise NoRoom


def capacities(context_tokens: int, first: int, factor: int) -> list[int]:
    """Give the sizes of tables up to the context limit: first, first * factor, ..."""
    sizes = [min(first, context_tokens)]
    while sizes[-1] < context_tokens:
        sizes.append(min(sizes[-1] * factor, context_tokens))
    return sizes
