"""Who may use how much of the KV cache that all requests of a `llm_gguf` engine share.

llama.cpp fails every running request when the cache is full, so nothing starts without its share.
"""

import threading
from collections import deque
from collections.abc import Callable


class KvBudget:
    """Shares are in tokens, given in the order of arrival; safe from any thread."""

    def __init__(self, total_tokens: int) -> None:
        self.total_tokens = total_tokens
        self._free_tokens = total_tokens
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @property
    def used_tokens(self) -> int:
        return self.total_tokens - self._free_tokens

    @property
    def waiting(self) -> int:
        return len(self._line)

    def take(self, tokens: int, gave_up: Callable[[], bool], *, first: bool = False) -> bool:
        """Wait for a share; False where `gave_up` became true. `first` goes before all others."""
        ticket = object()
        with self._changed:
            (self._line.appendleft if first else self._line.append)(ticket)
            self._changed.wait_for(
                lambda: gave_up() or (self._line[0] is ticket and tokens <= self._free_tokens)
            )
            self._line.remove(ticket)
            self._changed.notify_all()
            if gave_up():
                return False
            self._free_tokens -= tokens
            return True

    def take_more(self, tokens: int) -> bool:
        """Make a share larger where that is possible at once and nobody waits."""
        with self._changed:
            if self._line or tokens > self._free_tokens:
                return False
            self._free_tokens -= tokens
            return True

    def give_back(self, tokens: int) -> None:
        with self._changed:
            self._free_tokens += tokens
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look at `gave_up` again."""
        with self._changed:
            self._changed.notify_all()
