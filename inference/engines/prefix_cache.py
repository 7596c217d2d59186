"""Kept keys and values of past prompts and answers, found again by their longest common prefix.

The next turn of a conversation begins with all of the last one: its tokens are not computed again.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.engines.kv_cache import Stage

MIN_TOKENS = 16  # shorter prefixes cost more to keep than to compute
MAX_ENTRIES = 256  # a search looks at each entry


@dataclass(eq=False)
class _Entry:
    tokens: NDArray[np.int64]
    stage: Stage
    owner: str  # adapters change keys and values: each has its own


class PrefixCache:
    """Least recently used entries leave first; `limit_bytes` bounds all of them together."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._next = 0
        self.nbytes = 0

    def find(self, tokens: list[int], block: int = 0, owner: str = "") -> tuple[Stage | None, int]:
        """Give the entry that shares the longest prefix, and how many tokens it shares.

        With `block`, only whole blocks that are exact count.
        """
        wanted = np.asarray(tokens, dtype=np.int64)
        best_key, best = -1, 0
        for key, entry in self._entries.items():
            if entry.owner != owner:
                continue
            shared = _common(entry.tokens, wanted)
            if block:
                shared = min(shared, entry.stage.exact_tokens) // block * block
            if shared > best:
                best_key, best = key, shared
        if best < MIN_TOKENS:
            return None, 0
        self._entries.move_to_end(best_key)
        return self._entries[best_key].stage, best

    def keep(self, tokens: list[int], stage: Stage, owner: str = "") -> None:
        """Keep a prompt; entries that it begins with are replaced by it, unless they are more exact."""
        if len(tokens) < MIN_TOKENS or stage.nbytes > self.limit_bytes:
            return
        kept = np.asarray(tokens, dtype=np.int64)
        for key, entry in [(k, e) for k, e in self._entries.items() if e.owner == owner]:
            if _common(entry.tokens, kept) < min(len(entry.tokens), len(kept)):
                continue
            if len(entry.tokens) > len(kept) and entry.stage.exact_tokens >= stage.exact_tokens:
                return
            if len(entry.tokens) <= len(kept) and entry.stage.exact_tokens <= stage.exact_tokens:
                self._drop(key)
        self._entries[self._next] = _Entry(kept, stage, owner)
        self._next += 1
        self.nbytes += stage.nbytes
        while self.nbytes > self.limit_bytes or len(self._entries) > MAX_ENTRIES:
            self.drop_oldest()

    def drop_oldest(self) -> bool:
        """Give memory back; False when there is nothing left."""
        if not self._entries:
            return False
        self._drop(next(iter(self._entries)))
        return True

    def clear(self, owner: str | None = None) -> None:
        for key in [k for k, e in self._entries.items() if owner is None or e.owner == owner]:
            self._drop(key)

    def _drop(self, key: int) -> None:
        self.nbytes -= self._entries.pop(key).stage.nbytes


def _common(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    size = min(len(left), len(right))
    different = left[:size] != right[:size]
    return int(different.argmax()) if different.any() else size
