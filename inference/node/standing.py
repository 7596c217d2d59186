"""Who is where and who waits: the scheduler's state, and what can be read off it. Pure, no rules."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from inference.errors import HubError
from inference.node import forecast, replicas
from inference.node.effects import Effect, Refuse
from inference.node.eviction import Resident, Target
from inference.node.leases import Lease
from inference.node.placement import Placement
from inference.node.residents import Instance, Model, Policy, Ticket


@dataclass(slots=True)
class Standing:
    """Invariant: a ticket is in one place: a queue, an instance, or ended."""

    policy: Policy
    models: dict[str, Model] = field(default_factory=dict)
    instances: dict[int, Instance] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)  # by ticket
    held_elsewhere: dict[str, int] = field(default_factory=dict)  # standby too, per device
    inherited: dict[str, int] = field(default_factory=dict)  # of these, on the CPU, by each engine
    waiting: dict[int, Model] = field(default_factory=dict)
    granted: dict[int, Instance] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- queries --------------------------------------------------------------------------------

    def free(self, engine: str = "") -> dict[str, int]:
        """Give what is neither used nor reserved, once everything that leaves has left.

        For an `engine`, the standby process that it would take over is free.
        """
        return self.rest(self.staying(), engine)

    def staying(self) -> list[Instance | Lease]:
        """Give who has memory reserved and was not told to leave."""
        holders: list[Instance | Lease] = [*self.instances.values(), *self.leases.values()]
        return [holder for holder in holders if holder.stays]

    def occupants(self) -> list[Instance | Lease]:
        """Give whose memory is taken now, those who leave too."""
        leases = [lease for lease in self.leases.values() if lease.is_out]
        return [*(i for i in self.instances.values() if i.has_process), *leases]

    def is_finishing(self) -> bool:
        """Tell whether somebody who leaves is not done yet: nobody knows how long that takes."""
        is_busy = any(i.in_flight and not i.stays for i in self.instances.values())
        return is_busy or any(lease.state == "yielding" for lease in self.leases.values())

    def idle_left_s(self, model: Model, now: float) -> float | None:
        """Seconds until the model is unloaded for idleness; None: not now, or never."""
        if not model.instances:
            return None
        members = [model, *(friend for friend in self.friends(model) if friend.instances)]
        left = [self._own_idle_left_s(member, now) for member in members]
        return None if None in left else max(s for s in left if s is not None)

    def _own_idle_left_s(self, model: Model, now: float) -> float | None:
        limit_s = model.idle_limit_s(self.policy.auto_unload_s)
        idle = all(i.state == "ready" and not i.in_flight for i in model.instances)
        if not model.instances or not idle or not limit_s:
            return None
        if all(i.unasked for i in model.instances) and forecast.is_likely(model, now):
            return None
        return max(0.0, limit_s - (now - max(i.last_used_at for i in model.instances)))

    def residents(self, now: float) -> list[Resident]:
        found = []
        for model in self.models.values():
            spares = replicas.spares(model)
            for one in model.instances:
                pinned, spare = self._is_pinned(one), one.id in spares
                found.append(model.resident(one, now, self.policy, pinned=pinned, spare=spare))
        found += [lease.resident() for lease in self.leases.values() if lease.stays]
        return sorted(found, key=lambda resident: resident.id)

    def party(self, instance: Instance) -> list[Instance]:
        """Give it and those that leave with it; a replica without company leaves alone."""
        model = self.models[instance.name]
        friends = self.friends(model)
        return self.household(model) if friends else [instance]

    def household(self, model: Model) -> list[Instance]:
        """Give all engines of a model and of its company."""
        return [one for member in [model, *self.friends(model)] for one in member.instances]

    def idle_party(self, names: Collection[str] | None = None) -> list[Instance]:
        """Give who may leave, of these models if any are named, with its company; or nobody.

        The lowest priority first, then who has had nothing to do for longest.
        """
        ready = [i for i in self.instances.values() if i.state == "ready"]
        parties = [self.party(i) for i in ready if names is None or i.name in names]
        able = [party for party in parties if all(map(self._may_leave, party))]
        return min(able, key=self._worth, default=[])

    def _worth(self, party: Sequence[Instance]) -> tuple[int, float]:
        priority = max(self.policy.priority(instance.spec) for instance in party)
        return priority, max(instance.last_used_at for instance in party)

    def _is_pinned(self, instance: Instance) -> bool:
        """A pin holds its company too."""
        model = self.models[instance.name]
        company = [friend for friend in self.friends(model) if friend.instances]
        return any(one.spec.pinned for one in [model, *company])

    def _may_leave(self, instance: Instance) -> bool:
        idle = instance.state == "ready" and not instance.in_flight
        return idle and not self._is_pinned(instance)

    def target(
        self, name: str, placements: Sequence[Placement], waited_s: float, waited_sum_s: float
    ) -> Target:
        company = self.policy.company
        foes, friends = company.foes(name), company.friends(name)
        return Target(name, placements, waited_s, waited_sum_s, foes, friends)

    def friends(self, model: Model) -> list[Model]:
        """Give the known models that come and leave with it."""
        names = self.policy.company.friends(model.name)
        known = [self.models[name] for name in sorted(names) if name in self.models]
        return [friend for friend in known if not friend.removed]

    def rest(self, holders: Sequence[Instance | Lease], engine: str = "") -> dict[str, int]:
        inherited = {"cpu": self.inherited.get(engine, 0)}
        return {
            device: limit
            - self.held_elsewhere.get(device, 0)
            + inherited.get(device, 0)
            - sum(i.claim.get(device, 0) for i in holders)
            for device, limit in self.policy.limits.bytes.items()
        }

    # --- moves ----------------------------------------------------------------------------------

    def abandon(self, instance: Instance) -> None:
        """Nobody is in it any more: what was not delivered waits again, the rest has failed."""
        model = self.models[instance.name]
        for ticket in instance.offered.values():
            model.queue.insert(0, ticket)
            self.waiting[ticket.id] = model
        for ticket_id in [*instance.offered, *instance.running]:
            self.granted.pop(ticket_id, None)
        instance.offered.clear()
        instance.running.clear()

    def refuse_all(self, model: Model, error: HubError, out: list[Effect]) -> None:
        for ticket in [*model.queue]:
            self.unqueue(model, ticket)
            out.append(Refuse(ticket.id, error))

    def unqueue(self, model: Model, ticket: Ticket) -> None:
        model.queue.remove(ticket)
        self.waiting.pop(ticket.id, None)
