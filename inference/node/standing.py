"""Who is where and who waits: the scheduler's state, and what can be read off it. Pure, no rules."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from inference.errors import HubError
from inference.node.effects import Effect, Refuse
from inference.node.eviction import Resident
from inference.node.residents import Instance, Model, Policy, Ticket


@dataclass(slots=True)
class Standing:
    """Invariant: a ticket is in one place: a queue, an instance, or ended."""

    policy: Policy
    models: dict[str, Model] = field(default_factory=dict)
    instances: dict[int, Instance] = field(default_factory=dict)
    held_elsewhere: dict[str, int] = field(default_factory=dict)  # standby processes, per device
    waiting: dict[int, Model] = field(default_factory=dict)
    granted: dict[int, Instance] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- queries --------------------------------------------------------------------------------

    def free(self) -> dict[str, int]:
        """Give what is neither used nor reserved, once everything that leaves has left."""
        return self.rest([i for i in self.instances.values() if i.stays])

    def idle_left_s(self, model: Model, now: float) -> float | None:
        """Seconds until the model is unloaded for idleness; None: not now, or never."""
        instance = model.instance
        limit_s = model.idle_limit_s(self.policy.auto_unload_s)
        if not instance or instance.state != "ready" or instance.in_flight or not limit_s:
            return None
        return max(0.0, limit_s - (now - instance.last_used_at))

    def residents(self, now: float) -> list[Resident]:
        return [
            self.models[i.name].resident(i, now, favoured=i.name in self.policy.favoured)
            for i in self.instances.values()
            if i.stays
        ]

    def rest(self, instances: list[Instance]) -> dict[str, int]:
        return {
            device: limit
            - self.held_elsewhere.get(device, 0)
            - sum(i.claim.get(device, 0) for i in instances)
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
