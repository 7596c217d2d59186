"""One background task per web process that follows the node, which keeps the last minutes.

Pages, panels and websockets all read from it; none of them asks the node on its own.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync

from inference import router, wire
from inference.errors import HubError, NodeUnavailable

INTERVAL_S = 1.0
HISTORY_POINTS = 150  # five minutes of the node's moments
FIRST_WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What was known at one moment; `problem` says why there is no snapshot."""

    number: int
    snapshot: wire.Snapshot | None
    points: tuple[wire.Moment, ...] = ()
    problem: str = ""
    at: float = field(default_factory=time.time)


class Watcher:
    """Follow the node until the process ends; a lost node is asked again every second."""

    def __init__(self) -> None:
        self.tick = Tick(number=0, snapshot=None, problem="")
        self._numbers = count(1)
        self._history: deque[wire.Moment] = deque(maxlen=HISTORY_POINTS)
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def after(self, number: int) -> Tick:
        """Wait for a tick newer than `number`; what lies between is skipped."""
        self.start()
        async with self._news:
            await self._news.wait_for(lambda: self.tick.number > number)
            return self.tick

    async def within(self, number: int, most_s: float) -> Tick:
        """Do as `after` for so long; then give the newest one there is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                return await self.after(number)
        return self.tick

    async def current(self) -> Tick:
        """Give the newest tick, or wait a moment for the first."""
        return await self.within(0, FIRST_WAIT_S)

    async def _follow(self) -> None:
        while True:
            try:
                async for snapshot in router.watch(INTERVAL_S):
                    self._remember(snapshot.history)
                    await self._publish(snapshot, "")
                raise NodeUnavailable("The node service closed the connection.")
            except (HubError, OSError, wire.FrameError) as error:
                await self._publish(None, str(error))
                await asyncio.sleep(INTERVAL_S)

    def _remember(self, moments: list[wire.Moment]) -> None:
        """A new connection tells what an earlier one told already."""
        newest = self._history[-1].at if self._history else 0.0
        self._history += [moment for moment in moments if moment.at > newest]

    async def _publish(self, snapshot: wire.Snapshot | None, problem: str) -> None:
        async with self._news:
            points = tuple(self._history)
            self.tick = Tick(next(self._numbers), snapshot, points, problem)
            self._news.notify_all()


_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, Watcher] = WeakKeyDictionary()


def shared() -> Watcher:
    """Give the watcher of this process (of this event loop, where tests have several)."""
    return _watchers.setdefault(asyncio.get_running_loop(), Watcher())


async def current() -> Tick:
    return await shared().current()


def current_now() -> Tick:
    """Do as `current`, for code that is not asynchronous."""
    return async_to_sync(current)()
