"""Stop the work for a client that has left, or that no longer reads."""

import time

from inference.api.cancelling import Cancelling
from inference.api.http import ClientLeft, Receive, Reply

STALL_S = 60.0  # one send that waits longer than this ends the stream
STALL_CHECK_S = 15.0


class UntilDisconnect(Cancelling):
    """Cancel the block when the client leaves; it then raises ClientLeft.

    The body must have been read.
    """

    def __init__(self, receive: Receive, reply: Reply) -> None:
        super().__init__()
        self._receive = receive
        self._reply = reply

    def _begin(self) -> None:
        self._watcher = self._loop.create_task(self._watch())
        self._timer = self._loop.call_later(STALL_CHECK_S, self._check_stall)

    def _stop(self) -> None:
        self._watcher.cancel()
        self._timer.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end(ClientLeft())

    def _check_stall(self) -> None:
        since_s = self._reply.sending_since_s
        if since_s is not None and time.monotonic() - since_s > STALL_S:
            self._end(ClientLeft())
        else:
            self._timer = self._loop.call_later(STALL_CHECK_S, self._check_stall)
