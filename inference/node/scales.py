"""What engines, trainings, spare processes and other programs hold of the machine, measured again and again.

The pool's clock turns it; the scheduler, the ledger and what is learnt of models hear of it.
"""

import asyncio

from inference.node.fleet import Fleet, Measured
from inference.node.lending import Lending
from inference.node.scheduler import Scheduler
from inference.node.status import Ledger

MEASURE_S = 2.0


class Scales:
    def __init__(
        self, fleet: Fleet, scheduler: Scheduler, ledger: Ledger, lending: Lending
    ) -> None:
        self._fleet, self._scheduler = fleet, scheduler
        self._ledger, self._lending = ledger, lending
        self.standby_bytes = 0  # of spare processes, as measured last

    async def weigh(self) -> None:
        measured = await asyncio.to_thread(self._fleet.measure)
        for number, found in measured.items():
            self._note(number, found)
        borrowed = await self._lending.measure()
        self._note_others([*(found.sizes for found in measured.values()), *borrowed.values()])

    def _note(self, number: int, found: Measured) -> None:
        running, gauges = self._fleet.running.get(number), self._ledger.gauges.get(number)
        if running is None or gauges is None:
            return
        device = gauges.device or running.order.placement.device
        gauges.memory_bytes, gauges.sizes = found.sizes.get(device, 0), found.sizes
        if found.alone and not running.stopping:
            self._scheduler.on_measured(number, found.alone)
            self._fleet.learn(running, found.alone)

    def _note_others(self, measured: list[dict[str, int]]) -> None:
        """Reserve what standby processes and other programs hold of our limit."""
        spare = self._fleet.standby.memory_bytes()
        self.standby_bytes = sum(spare.values())
        self._scheduler.inherited = self._fleet.standby.inherited(spare)
        for device in self._fleet.devices:
            ours = sum(sizes.get(device.name, 0) for sizes in measured)
            own = self.standby_bytes if device.name == "cpu" else 0
            reachable = ours + own + device.available_bytes
            held = own + max(0, device.limit_bytes - reachable)
            self._scheduler.held_elsewhere[device.name] = held
