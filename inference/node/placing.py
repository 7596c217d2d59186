"""Where each model could go and what it takes there: read from its files once, kept until one ends."""

import asyncio
import logging

import msgspec

from inference import wire
from inference.errors import HubError, LoadFailed
from inference.node import memory
from inference.node.eviction import Placement
from inference.node.fleet import Fleet

KEPT = 512

log = logging.getLogger(__name__)


class Placing:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._kept: dict[bytes, list[Placement]] = {}

    def known(self, spec: wire.ModelSpec) -> list[Placement] | None:
        return self._kept.get(msgspec.msgpack.encode(spec))

    async def of(self, spec: wire.ModelSpec) -> list[Placement]:
        """Read the headers in a thread. Raises: HubError."""
        if (known := self.known(spec)) is not None:
            return known
        fleet = self._fleet
        try:
            found = await asyncio.to_thread(memory.placements, spec, fleet.devices, fleet.peaks)
        except HubError:
            raise
        except Exception as error:
            log.exception("the files of %s cannot be read", spec.name)
            raise LoadFailed(f"{spec.name} cannot be read: {error!r}") from error
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[msgspec.msgpack.encode(spec)] = found
        return found

    def forget(self) -> None:
        """What was measured since counts from the next load on."""
        self._kept.clear()
