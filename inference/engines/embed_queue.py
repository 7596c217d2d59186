"""Which inputs are computed together: fair turns between requests, little padding. Pure."""

from collections import deque
from collections.abc import Sized
from dataclasses import dataclass, field

Row = Sized  # what is computed for one input: token ids, or an image; its length is what it costs


@dataclass(slots=True, eq=False)
class Request:
    """One request's inputs; `vectors[i]` is the packed float32 row of input i once computed."""

    stream: int
    rows: list[Row]
    next_row: int = 0
    vectors: dict[int, bytes] = field(default_factory=dict)
    ended: bool = False  # answered, cancelled or failed: nothing more is computed for it

    @property
    def finished(self) -> bool:
        return len(self.vectors) == len(self.rows)


@dataclass(frozen=True, slots=True)
class Item:
    request: Request
    index: int

    @property
    def row(self) -> Row:
        return self.request.rows[self.index]


def take_window(waiting: deque[Request], budget_tokens: int) -> list[Item]:
    """Take inputs one from each request in turn until `budget_tokens` (> 0) are used.

    A request that ended, or whose inputs are all taken, leaves `waiting`.
    """
    window: list[Item] = []
    while waiting and budget_tokens > 0:
        request = waiting.popleft()
        if request.ended:
            continue
        item = Item(request, request.next_row)
        request.next_row += 1
        window.append(item)
        budget_tokens -= len(item.row)
        if request.next_row < len(request.rows):
            waiting.append(request)
    return window


def cut_batches(window: list[Item], padded_tokens: int) -> list[list[Item]]:
    """Cut a window, sorted by length, so that rows x longest row <= `padded_tokens` in each batch.

    A single input over the cap is a batch of its own.
    """
    batches: list[list[Item]] = []
    for item in sorted(window, key=_length):
        if not batches or (len(batches[-1]) + 1) * _length(item) > padded_tokens:
            batches.append([])
        batches[-1].append(item)
    return batches


def _length(item: Item) -> int:
    return len(item.row)
