"""The adapters that a resident base holds: attached at their first request, least recently used leave.

Requests lease one for as long as they run. `lease` may read files: call it on a thread that may wait.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from inference import wire
from inference.engines.lora import Lora, LoraFile
from inference.errors import OutOfMemory, Unavailable

Open = Callable[[wire.Adapter], LoraFile]
Read = Callable[[LoraFile], Lora]
RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class _Held:
    lora: Lora
    users: int = 0
    leaving: bool = False


class AdapterStore:
    """Invariant: `nbytes` is at most `limit_bytes`, and nothing leased is ever let go.

    Called by the threads that encode and attach; `nbytes` is read by the one that computes.
    """

    def __init__(
        self,
        open_file: Open,
        read: Read,
        limit_bytes: int,
        room: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        """`room` says how many bytes more running answers leave."""
        self.limit_bytes = limit_bytes
        self._room = room
        self._open, self._read = open_file, read
        self._held: OrderedDict[str, _Held] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # one at a time: two would take twice the room
        self.nbytes = 0

    def holds(self, adapter: wire.Adapter) -> bool:
        with self._lock:
            return adapter.key in self._held

    def names(self) -> list[str]:
        """List what is attached, the least recently used first."""
        with self._lock:
            return [key.rpartition("@")[0] for key in self._held]

    def lease(self, adapter: wire.Adapter) -> Lora:
        """Attach it if need be. Raises: LoadFailed, OutOfMemory; Unavailable while others fill all."""
        if (found := self._take(adapter.key)) is not None:
            return found
        with self._reading:
            if (found := self._take(adapter.key)) is not None:
                return found
            file = self._open(adapter)
            self._make_room(adapter, file.nbytes)
            try:
                lora = self._read(file)
            except BaseException:
                self._give_room_back(file.nbytes)
                raise
            with self._lock:
                self._held[adapter.key] = _Held(lora, users=1)
            return lora

    def give_back(self, lora: Lora) -> None:
        with self._lock:
            held = self._held[lora.key]
            held.users -= 1
            if held.leaving and not held.users:
                self._drop(lora.key)

    def let_go(self, name: str) -> list[str]:
        """Drop every version of an adapter; who answers with one keeps it until then.

        Give the keys of those that were here.
        """
        with self._lock:
            found = [key for key in self._held if key.rpartition("@")[0] == name]
            for key in found:
                self._held[key].leaving = True
                if not self._held[key].users:
                    self._drop(key)
            return found

    def _drop(self, key: str) -> None:
        self.nbytes -= self._held.pop(key).lora.nbytes

    def _take(self, key: str) -> Lora | None:
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            held.users += 1
            held.leaving = False  # it is asked for again
            return held.lora

    def _make_room(self, adapter: wire.Adapter, nbytes: int) -> None:
        """Let the least recently used go; what is to come is counted at once."""
        if nbytes > self.limit_bytes:
            raise OutOfMemory(
                f"the adapter {adapter.name} takes {nbytes:,} bytes; its base was given"
                f" {self.limit_bytes:,} bytes for adapters",
                param="model",
            )
        with self._lock:
            idle = [key for key, held in self._held.items() if not held.users]
            while not self._fits(nbytes) and idle:
                self._drop(idle.pop(0))
            if not self._fits(nbytes):
                raise Unavailable(
                    f"there is no room for the adapter {adapter.name} while others are answering",
                    param="model",
                    retry_after_s=RETRY_AFTER_S,
                )
            self.nbytes += nbytes

    def _fits(self, nbytes: int) -> bool:
        return self.nbytes + nbytes <= self.limit_bytes and nbytes <= self._room()

    def _give_room_back(self, nbytes: int) -> None:
        with self._lock:
            self.nbytes -= nbytes
