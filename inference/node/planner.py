"""Answers what loading a model, or reserving memory, would do now; nothing is done."""

import time

from inference import wire
from inference.errors import HubError
from inference.node import leases
from inference.node.fleet import Fleet
from inference.node.foresight import what_if, what_if_reserved
from inference.node.placing import Placing
from inference.node.running import Client, as_failure
from inference.node.scheduler import Scheduler


class Planner:
    def __init__(self, scheduler: Scheduler, placing: Placing, fleet: Fleet) -> None:
        self._scheduler, self._placing, self._fleet = scheduler, placing, fleet

    async def answer(self, client: Client, question: wire.Plan | wire.PlanReservation) -> None:
        try:
            planned = await self._plan(question)
        except HubError as error:
            client.finish(as_failure(error))
        else:
            client.finish(planned)

    async def _plan(self, question: wire.Plan | wire.PlanReservation) -> wire.Planned:
        """Raises: HubError."""
        if isinstance(question, wire.Plan):
            found = await self._placing.of(question.spec)
            return what_if(self._scheduler, question.spec, found, time.monotonic())
        places = leases.places(question.reserve, self._fleet.devices)
        return what_if_reserved(self._scheduler, question.reserve, places, time.monotonic())
