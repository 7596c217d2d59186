"""Memory that a client borrows for a process of its own, a training: one row each. Data and one-row rules only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from inference import wire
from inference.errors import InvalidValue
from inference.node.devices import Device
from inference.node.eviction import Resident
from inference.node.memory import CUDA_HOST_FLOOR_BYTES
from inference.node.placement import Bytes, Placement

LeaseState = Literal["waiting", "committed", "granted", "yielding"]


@dataclass(slots=True, eq=False)
class Lease:
    """One reservation, from its question until its client has closed.

    States: waiting → committed (victims leave) → granted → yielding (asked to go). Closing ends any.
    """

    id: int
    wish: wire.Reserve
    placements: Sequence[Placement]
    deadline_at: float = float("inf")
    since: float = 0.0
    state: LeaseState = "waiting"
    placement: Placement | None = None
    claim: Bytes = field(default_factory=dict)
    granted_at: float = 0.0
    reason: str = ""
    sizes: dict[str, int] = field(default_factory=dict)  # of its process, as measured last
    told: wire.Progress | None = None

    @property
    def name(self) -> str:
        """Name it in texts that anybody may read: by number, since a label may be a team's secret."""
        return f"{wire.TRAINING}{self.wish.id}"

    @property
    def stays(self) -> bool:
        return self.state in {"committed", "granted"}

    @property
    def is_out(self) -> bool:
        """Tell whether its client may use the memory now."""
        return self.state in {"granted", "yielding"}

    @property
    def waits(self) -> bool:
        return self.state in {"waiting", "committed"}

    def urgency(self, now: float, ageing_s: float) -> tuple[float, float]:
        """The lowest is placed first; comparable with that of models."""
        return -(self.wish.priority + (now - self.since) // ageing_s), self.since

    def resident(self) -> Resident:
        """Its number is below zero: those of engines are above."""
        return Resident(
            id=-self.id,
            name=self.name,
            claim=self.claim,
            loading=self.state == "committed",
            priority=self.wish.priority,
            ready_at=self.granted_at,
            last_used_at=self.granted_at,
            leased=True,
            yields=self.wish.is_preemptible,
        )

    def resize(self, claim_bytes: int) -> None:
        """Let the claim follow what was measured."""
        if self.is_out and self.placement:
            self.claim = {**self.claim, self.placement.device: claim_bytes}

    def measured(self, sizes: dict[str, int]) -> None:
        """What passes the claim raises it."""
        self.sizes = sizes
        self.claim = {
            device: max(size, sizes.get(device, 0)) for device, size in self.claim.items()
        }

    def status(self, position: int, now: float) -> wire.ReservationStatus:
        device = self.placement.device if self.placement else ""
        since = self.granted_at if self.is_out else self.since
        return wire.ReservationStatus(
            id=self.wish.id,
            label=self.wish.label,
            state="waiting"
            if self.waits
            else "yielding"
            if self.state == "yielding"
            else "granted",
            device=device,
            claim_bytes=self.claim.get(device, self.wish.claim_bytes),
            memory_bytes=self.sizes.get(device, 0),
            priority=self.wish.priority,
            is_preemptible=self.wish.is_preemptible,
            position=position,
            age_s=round(now - since, 1),
            reason=self.reason,
        )


def places(wish: wire.Reserve, devices: Sequence[Device]) -> list[Placement]:
    """Give where it can go: on a GPU it takes main memory too. Raises: InvalidValue."""
    if wish.claim_bytes <= 0:
        raise InvalidValue("A reservation needs a size in bytes above zero.", param="claim_bytes")
    gpus = [device.name for device in devices if device.name.startswith("cuda")]
    names = ["cpu"] if wish.device == "cpu" or (wish.device == "auto" and not gpus) else gpus
    found = [name for name in names if wish.device in {"auto", "cuda", name}]
    if not found:
        there = ", ".join(device.name for device in devices)
        raise InvalidValue(
            f"The training asks for {wish.device}; this node has {there}.", param="device"
        )
    return [_placement(name, wish.claim_bytes) for name in found]


def _placement(device: str, claim_bytes: int) -> Placement:
    host = {} if device == "cpu" else {"cpu": CUDA_HOST_FLOOR_BYTES}
    return Placement(device, {**host, device: claim_bytes}, allowance_bytes=claim_bytes)


def queue(leases: Sequence[Lease], now: float, ageing_s: float) -> list[Lease]:
    """Give those that wait, the next one first."""
    return sorted((le for le in leases if le.waits), key=lambda le: le.urgency(now, ageing_s))


def statuses(leases: Sequence[Lease], now: float, ageing_s: float) -> list[wire.ReservationStatus]:
    """Give those that have memory, then those that wait."""
    has = [lease.status(0, now) for lease in leases if not lease.waits]
    return has + [le.status(at, now) for at, le in enumerate(queue(leases, now, ageing_s), 1)]
