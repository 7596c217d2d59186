"""A block that others may end: the one place that cancels a request's own task and takes it back."""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import cast


class Cancelling(ABC):
    """Base of what watches over a block: `_end` cancels it, and it then raises why.

    Nothing that must finish belongs into the block.
    """

    def __init__(self) -> None:
        self._why: Exception | None = None

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if self._why is None:
            return
        if self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise self._why from None

    @abstractmethod
    def _begin(self) -> None:
        """Start to watch."""

    @abstractmethod
    def _stop(self) -> None:
        """Watch no longer."""

    def _end(self, why: Exception) -> None:
        if self._why is None:
            self._why = why
            self._task.cancel()
