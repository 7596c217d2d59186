"""The one account of a model's key-value memory: running rows, prompts in work, kept prefixes, adapters.

Kept prefixes give way to everything else. Used by the batching loop.
"""

import sys
from collections.abc import Callable
from typing import TypeVar

from inference.engines.kv_cache import KvPool, NoRoom, Seat, Stage, Table
from inference.engines.prefix_cache import PrefixCache

Result = TypeVar("Result")


class KvMemory:
    def __init__(self, pool: KvPool, prefixes: PrefixCache) -> None:
        self._pool, self._prefixes = pool, prefixes
        self._staged: dict[int, Stage] = {}
        self.beside: Callable[[], int] = lambda: 0  # bytes of what else takes from this memory

    @property
    def tables(self) -> list[Table]:
        """Give the tables that have rows in use."""
        return [table for table in self._pool.tables if table.seats]

    @property
    def nbytes(self) -> int:
        self._account()
        return self._pool.nbytes

    def limit(self, total_bytes: int, prefix_bytes: int) -> None:
        """Bound everything (0: not at all), and the kept prefixes within it."""
        self._pool.limit_bytes, self._prefixes.limit_bytes = total_bytes, prefix_bytes

    def room_beside(self) -> int:
        """Count what running answers leave, kept prefixes given up. May be asked by any thread."""
        if not self._pool.limit_bytes:
            return sys.maxsize
        staged = sum(stage.nbytes for stage in list(self._staged.values()))
        rows = sum(table.nbytes for table in self._pool.tables)
        return self._pool.limit_bytes - rows - staged - self.beside()

    def settle(self) -> None:
        """Give up kept prefixes for what was put beside them."""
        while self._pool.limit_bytes and self.nbytes > self._pool.limit_bytes:
            if not self._prefixes.drop_oldest():
                return

    def start(
        self, tokens: list[int], reuse: bool, block: int = 0, owner: str = ""
    ) -> tuple[Stage, int]:
        """Give room for a prompt, and how many of its tokens are there already.

        There must be room for its row too, or computing it would be in vain. With `block`, what is
        there are whole blocks and exact.

        Raises: NoRoom.
        """
        kept, shared = self._prefixes.find(tokens[:-1], block, owner) if reuse else (None, 0)
        nbytes = len(tokens) * self._pool.layout.token_bytes
        self._yielding(lambda: self._pool.need(nbytes + self._pool.row_bytes(len(tokens))))
        stage = Stage(self._pool.layout, len(tokens))
        if kept is not None:
            stage.copy_from(kept, shared)
            stage.exact_tokens = shared if block else 0
        self._staged[id(stage)] = stage
        return stage, shared

    def release(self, stage: Stage | None) -> None:
        """A prompt is computed, or given up."""
        self._staged.pop(id(stage), None)

    def keep_prompt(self, tokens: list[int], stage: Stage, owner: str = "") -> None:
        self._prefixes.keep(tokens, stage, owner)

    def seat(self, stage: Stage, length: int) -> Seat:
        """Raises: NoRoom."""
        return self._yielding(lambda: self._pool.seat(stage, length))

    def extend(self, seat: Seat) -> None:
        """Make sure that one more token fits. Raises: NoRoom."""
        self._yielding(lambda: self._pool.make_room(seat))

    def free(self, seat: Seat) -> None:
        self._pool.free(seat)

    def keep(self, tokens: list[int], seat: Seat, owner: str = "") -> None:
        """Keep a copy of a row for later prompts, if there is room without giving up others."""
        if len(tokens) * self._pool.layout.token_bytes > self._prefixes.limit_bytes:
            return
        self._account()
        try:
            self._pool.need(len(tokens) * self._pool.layout.token_bytes)
        except NoRoom:
            return
        stage = Stage(self._pool.layout, len(tokens), seat.exact_tokens)
        keys, values = seat.table.read(seat)
        stage.keys[:, 0] = keys[:, :, : len(tokens)]
        stage.values[:, 0] = values[:, :, : len(tokens)]
        self._prefixes.keep(tokens, stage, owner)

    def forget(self, owner: str | None = None) -> None:
        """Give up the kept prefixes of an adapter, or all."""
        self._prefixes.clear(owner)

    def _yielding(self, act: Callable[[], Result]) -> Result:
        """Act, giving up kept prefixes until there is room. Raises: NoRoom."""
        while True:
            self._account()
            try:
                return act()
            except NoRoom:
                if not self._prefixes.drop_oldest():
                    raise

    def _account(self) -> None:
        staged = sum(stage.nbytes for stage in self._staged.values())
        self._pool.other_bytes = staged + self._prefixes.nbytes + self.beside()
