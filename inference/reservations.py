"""Memory of the node for a process of one's own, a training: reserved, measured, given back.

Called by the supervisor of trainings and by pages. The connection is the lease: leaving `reserve` or
`Held` frees the memory at once, so leave only when the process has ended.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from inference import router, wire
from inference.errors import EngineFailed, HubError, NodeUnavailable

News = wire.Progress | wire.Granted | wire.Yield
TICK_S = 1.0


class Reservation:
    """What the node says: `Progress` while it waits, `Granted`, and `Yield` if it must be given back.

    Iteration raises HubError: refused, too late, or NodeUnavailable when the node has ended, with
    which the reservation is lost. Then reserve again, with the `pid` of a process that goes on.
    """

    def __init__(self, answer: router.Answer, wish: wire.Reserve) -> None:
        self._answer, self._wish = answer, wish

    def resize(self, *, claim_bytes: int = 0, pid: int = 0) -> None:
        """Tell what was measured, and the process; 0 leaves either as it was."""
        self._answer.add(wire.Resize(claim_bytes=claim_bytes, pid=pid))

    async def __aiter__(self) -> AsyncIterator[News]:
        try:
            async for message in self._answer:
                if isinstance(message, News):
                    yield message
        except EngineFailed as error:
            lost = f"The model node ended, and with it the reservation of {self._wish.label}."
            raise NodeUnavailable(lost, retry_after_s=router.RETRY_AFTER_S) from error


@asynccontextmanager
async def reserve(wish: wire.Reserve) -> AsyncIterator[Reservation]:
    """Ask the node for memory. Raises: HubError; NodeUnavailable when there is no node."""
    async with router.asking(wish, TICK_S, keep=False) as answer:
        yield Reservation(answer, wish)


async def plan_reservation(wish: wire.Reserve) -> wire.Planned:
    """Say what this reservation would do now: who would be unloaded. Raises: HubError."""
    async with router.asking(wire.PlanReservation(reserve=wish), TICK_S) as answer:
        async for message in answer:
            if isinstance(message, wire.Planned):
                return message
    raise NodeUnavailable("The node did not say what would happen.")


class Held:
    """The same without asyncio: a context manager whose connection lives on a thread of its own."""

    def __init__(self, wish: wire.Reserve) -> None:
        self._wish = wish
        self._inbox: queue.SimpleQueue[News | HubError] = queue.SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._reservation: Reservation | None = None
        self._thread = threading.Thread(target=self._run, name="reservation", daemon=True)

    def __enter__(self) -> Self:
        self._task = self._loop.create_task(self._follow())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the memory back."""
        assert self._task is not None  # noqa: S101  for the type checker
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._loop.close()

    def next(self, timeout_s: float | None = None) -> News | None:
        """Give the next message, or None after `timeout_s`. Raises: HubError, when it has ended."""
        try:
            news = self._inbox.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(news, HubError):
            self._inbox.put(news)
            raise news
        return news

    def resize(self, *, claim_bytes: int = 0, pid: int = 0) -> None:
        """Tell what was measured, and the process; from any thread."""
        self._loop.call_soon_threadsafe(self._resize, claim_bytes, pid)

    def _resize(self, claim_bytes: int, pid: int) -> None:
        if self._reservation is not None:
            self._reservation.resize(claim_bytes=claim_bytes, pid=pid)

    def _run(self) -> None:
        assert self._task is not None  # noqa: S101  for the type checker
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(asyncio.wait([self._task]))
            self._loop.run_until_complete(asyncio.sleep(0))  # the socket's end is seen
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        """End what the router still does on this loop; `__exit__` may still post to it."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _follow(self) -> None:
        try:
            async with reserve(self._wish) as self._reservation:
                async for news in self._reservation:
                    self._inbox.put(news)
        except HubError as error:
            self._inbox.put(error)
