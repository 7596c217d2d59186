"""What engines share whose one thread computes: requests and cancels are handed over to it in order."""

import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from inference.engines.base import Engine, Job, failure_of
from inference.errors import EngineFailed

UNLOADED = EngineFailed("the model is being unloaded")


class OneThreadEngine(Engine):
    """`load` starts the thread at its end; `_serve` returns once `_wait_for` says that it closes."""

    thread_name: ClassVar[str]

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._inbox: deque[Any] = deque()  # jobs, stream numbers to cancel, and an engine's own
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=self.thread_name, daemon=True)

    @abstractmethod
    def _serve(self) -> None:
        """Compute until the engine closes; what is left then fails with UNLOADED."""

    def submit(self, job: Job) -> None:
        if not self._hand_over(job):
            job.emit(failure_of(UNLOADED))

    def cancel(self, stream: int) -> None:
        self._hand_over(stream)

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _hand_over(self, entry: object) -> bool:
        """Return False, and take nothing, when the engine closes."""
        with self._wake:
            if not self._closing:
                self._inbox.append(entry)
                self._wake.notify()
            return not self._closing

    def _wait_for(self, has_work: Callable[[], object]) -> None:
        """Wait for something handed over, for the engine's own work, or for the end."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or has_work() or self._closing)
