"""Reservations from the question to the closed connection: the pool's part for borrowed memory."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from inference import wire
from inference.errors import HubError, InvalidValue, NodeUnavailable
from inference.node import devices, leases
from inference.node.effects import Effect, Lend, Recall, Refuse, Tell
from inference.node.fleet import Fleet
from inference.node.leases import Lease
from inference.node.running import Client, as_failure
from inference.node.scheduler import Scheduler


class Lending:
    def __init__(
        self,
        scheduler: Scheduler,
        fleet: Fleet,
        do: Callable[[list[Effect]], None],
        numbers: Iterator[int],
    ) -> None:
        self._scheduler, self._fleet, self._do = scheduler, fleet, do
        self._numbers = numbers
        self._clients: dict[int, Client] = {}
        self._pids: dict[int, int] = {}

    # --- what clients ask -------------------------------------------------------------------------

    def reserve(self, client: Client, wish: wire.Reserve) -> int:
        """Take the question; its number is for `resize` and `release`."""
        number, now = next(self._numbers), time.monotonic()
        deadline_at = float("inf") if wish.deadline_s is None else now + wish.deadline_s
        try:
            lease = Lease(number, wish, leases.places(wish, self._fleet.devices), deadline_at)
        except InvalidValue as error:
            client.finish(as_failure(error))
            return 0
        self._clients[number] = client
        self._follow(number, wish.pid)
        self._do(self._scheduler.on_reserve(lease, now))
        return number

    def resize(self, number: int, question: wire.Resize) -> None:
        if number not in self._clients:
            return  # refused while this was on its way
        self._follow(number, question.pid)
        if question.claim_bytes > 0:
            size = question.claim_bytes
            self._do(self._scheduler.on_resize(number, size, time.monotonic()))

    def release(self, number: int) -> bool:
        """The client has closed; give whether it had a reservation, or waited for one."""
        self._pids.pop(number, None)
        if self._clients.pop(number, None) is None:
            return False
        self._do(self._scheduler.on_release(number, time.monotonic()))
        return True

    def close(self) -> None:
        """The node ends: nobody reserves for them any more."""
        for number in [*self._clients]:
            self._end(number, NodeUnavailable("The node is shutting down.", retry_after_s=2.0))

    # --- effects ----------------------------------------------------------------------------------

    def lend(self, effect: Lend) -> None:
        if client := self._clients.get(effect.ticket):
            client.send(wire.Granted(device=effect.device, claim_bytes=effect.claim_bytes))

    def recall(self, effect: Recall) -> None:
        if client := self._clients.get(effect.ticket):
            client.send(wire.Yield(reason=effect.reason))

    def tell(self, effect: Tell) -> None:
        if client := self._clients.get(effect.ticket):
            client.send(effect.progress)

    def refuse(self, effect: Refuse) -> None:
        self._end(effect.ticket, effect.error)

    # --- memory -----------------------------------------------------------------------------------

    async def measure(self) -> dict[int, dict[str, int]]:
        """Give what the process of each reservation holds on each device, with all that it started."""
        measured = await asyncio.to_thread(self._measure, dict(self._pids))
        for number, sizes in measured.items():
            if lease := self._scheduler.leases.get(number):
                lease.measured(sizes)
        return measured

    def _measure(self, pids: dict[int, int]) -> dict[int, dict[str, int]]:
        """Read /proc and the driver: in a thread."""
        if not pids:
            return {}
        on_gpu = devices.gpu_process_memory() if len(self._fleet.devices) > 1 else {}
        return {number: _held(pid, on_gpu) for number, pid in pids.items()}

    def _follow(self, number: int, pid: int) -> None:
        if pid > 0 and Path(f"/proc/{pid}").exists():
            self._pids[number] = pid

    def _end(self, number: int, error: HubError) -> None:
        self._pids.pop(number, None)
        if client := self._clients.pop(number, None):
            client.finish(as_failure(error))


def _held(pid: int, on_gpu: dict[tuple[int, str], int]) -> dict[str, int]:
    family = devices.family(pid)
    sizes = {"cpu": sum(map(devices.process_memory, family))}
    for (owner, device), size in on_gpu.items():
        if owner in family:
            sizes[device] = sizes.get(device, 0) + size
    return sizes
