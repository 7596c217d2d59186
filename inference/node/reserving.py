"""Who borrows memory for a training: placed, granted, asked to yield. A part of the scheduler.

A reservation is planned like a model, by the same `eviction.plan`; it never drains who is busy and
takes no other reservation. One that is preemptible is the last victim that is thought of.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from inference import sizes, wire
from inference.errors import DeadlineExceeded, OutOfMemory
from inference.node import leases, waits
from inference.node.effects import Effect, Lend, Recall, Record, Refuse, Tell
from inference.node.eviction import Fits, Impossible, Resident, Target, Verdict, plan
from inference.node.leases import Lease
from inference.node.leaving import Leaving
from inference.node.residents import Model


@dataclass(slots=True)
class Reserving(Leaving):
    def evict(
        self, victim: Resident, why: str, now: float, out: list[Effect], detail: str = ""
    ) -> None:
        if victim.leased:
            self.recall(self.leases[-victim.id], why, out)
        else:
            self.drain(self.instances[victim.id], why, now, out, detail, may_sleep=True)

    def recall(self, lease: Lease, why: str, out: list[Effect]) -> None:
        """Ask for the memory; it counts as taken until the client has closed."""
        lease.state, lease.reason = "yielding", why
        out += [Record("yield", lease.name, why), Recall(lease.id, why)]

    def plan_lease(self, lease: Lease, now: float) -> Verdict:
        waited_s = now - lease.since
        target = Target(lease.name, lease.placements, waited_s, waited_s, leased=True)
        return plan(target, self.residents(now), self.free(), now, self.policy.limits)

    def place_lease(self, lease: Lease, now: float, out: list[Effect]) -> None:
        found = self.plan_lease(lease, now)
        if isinstance(found, Impossible):
            error = waits.does_not_fit(lease.name, found)
            self._end_wait(lease, Record("refuse", lease.name, found.reason), error, out)
        elif isinstance(found, Fits):
            self._commit_lease(lease, found, now, out)
        else:
            if not lease.reason:  # the history keeps the first, or it would hold nothing else
                out.append(Record("wait", lease.name, found.reason))
            lease.reason = found.reason

    def _commit_lease(self, lease: Lease, found: Fits, now: float, out: list[Effect]) -> None:
        lease.state, lease.placement = "committed", found.placement
        lease.claim, lease.reason = dict(found.placement.claim), waits.room_reason(found.victims)
        for victim in found.victims:
            detail = waits.sacrifice(victim, now)
            self.evict(victim, f"makes room for {lease.name}", now, out, detail)

    def lend_if_free(self, lease: Lease, now: float, out: list[Effect]) -> None:
        """Grant once the memory of those who left for it is really back."""
        rest, place = self.rest(self.occupants()), lease.placement
        if place is None or any(rest.get(name, 0) < size for name, size in lease.claim.items()):
            return
        lease.state, lease.granted_at, lease.reason = "granted", now, ""
        size = lease.claim[place.device]
        waited = f"after {now - lease.since:.1f} s" if lease.told else "at once"
        out += [
            Record("reserve", lease.name, f"{sizes.text(size)} on {place.device}, {waited}"),
            Lend(lease.id, place.device, size),
        ]

    def expire_leases(self, now: float, out: list[Effect]) -> None:
        for lease in [le for le in self.leases.values() if le.waits and le.deadline_at <= now]:
            why = f"waited {now - lease.since:.0f} s: {lease.reason or 'others come first'}"
            error = DeadlineExceeded(f"{lease.name} {why}")
            self._end_wait(lease, Record("refuse", lease.name, why), error, out)

    def _end_wait(
        self,
        lease: Lease,
        record: Record,
        error: OutOfMemory | DeadlineExceeded,
        out: list[Effect],
    ) -> None:
        del self.leases[lease.id]
        out += [record, Refuse(lease.id, error)]

    def tell_leases(self, now: float) -> list[Effect]:
        """Tell those that wait what has changed for them."""
        queue = leases.queue([*self.leases.values()], now, self.policy.ageing_s)
        return [tell for at, lease in enumerate(queue, 1) for tell in _tell(lease, at)]


def by_urgency(
    models: Iterable[Model], leases: Iterable[Lease], now: float, ageing_s: float
) -> list[Model | Lease]:
    """Order those without room; a long wait of a reservation counts like that of a request."""
    wanted: list[tuple[tuple[float, float], Model | Lease]] = [
        *((waits.urgency(model, now, ageing_s), model) for model in models),
        *((le.urgency(now, ageing_s), le) for le in leases if le.state == "waiting"),
    ]
    return [one for _, one in sorted(wanted, key=lambda pair: pair[0])]


def _tell(lease: Lease, position: int) -> list[Effect]:
    reason = lease.reason or "waits for its turn"
    told = wire.Progress(state="queued", position=position, reason=reason)
    if told == lease.told:
        return []
    lease.told = told
    return [Tell(lease.id, told)]
