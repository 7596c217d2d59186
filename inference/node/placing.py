"""Where each model could go and what it takes there: read from its files once, kept until one ends."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from inference import wire
from inference.errors import HubError, LoadFailed
from inference.node import memory
from inference.node.fleet import Fleet
from inference.node.placement import Placement

KEPT = 512
READERS = 4  # threads
READ_S = 60.0  # for the headers of one model

log = logging.getLogger(__name__)


class Placing:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._kept: dict[bytes, list[Placement]] = {}
        self._threads = ThreadPoolExecutor(READERS, "headers")

    def known(self, spec: wire.ModelSpec) -> list[Placement] | None:
        return self._kept.get(msgspec.msgpack.encode(spec))

    async def of(self, spec: wire.ModelSpec) -> list[Placement]:
        """Read the headers in a thread. Raises: HubError."""
        if (known := self.known(spec)) is not None:
            return known
        fleet = self._fleet
        try:
            found = await self._read(memory.placements, spec, fleet.devices, fleet.peaks)
        except HubError:
            raise
        except TimeoutError:
            raise LoadFailed(f"{spec.name} cannot be read: its disk does not answer.") from None
        except Exception as error:
            log.exception("the files of %s cannot be read", spec.name)
            raise LoadFailed(f"{spec.name} cannot be read: {error!r}") from error
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[msgspec.msgpack.encode(spec)] = found
        return found

    async def _read(self, work: Callable[..., list[Placement]], *args: object) -> list[Placement]:
        """A disk that hangs holds up threads of its own, and nobody else. Raises: TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(READ_S):
            return await loop.run_in_executor(self._threads, work, *args)

    def forget(self) -> None:
        """What was measured since counts from the next load on."""
        self._kept.clear()
