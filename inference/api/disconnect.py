"""Stop the work for a client that has left, or that no longer reads."""

import asyncio
import time
from types import TracebackType
from typing import cast

from inference.api.http import ClientLeft, Receive, Reply

STALL_S = 60.0  # one send that waits longer than this ends the stream
STALL_CHECK_S = 15.0


class UntilDisconnect:
    """Cancel the block when the client leaves; it then raises ClientLeft.

    The body must have been read. Nothing that must finish belongs into the block.
    """

    def __init__(self, receive: Receive, reply: Reply) -> None:
        self._receive = receive
        self._reply = reply
        self._left = False

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._watcher = self._loop.create_task(self._watch())
        self._timer = self._loop.call_later(STALL_CHECK_S, self._check_stall)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watcher.cancel()
        self._timer.cancel()
        if self._left and self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise ClientLeft from None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _check_stall(self) -> None:
        since_s = self._reply.sending_since_s
        if since_s is not None and time.monotonic() - since_s > STALL_S:
            self._leave()
        else:
            self._timer = self._loop.call_later(STALL_CHECK_S, self._check_stall)

    def _leave(self) -> None:
        if not self._left:
            self._left = True
            self._task.cancel()
