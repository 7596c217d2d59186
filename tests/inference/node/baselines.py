"""What others do, in the same simulator: plain least-recently-used eviction, and first-idle.

Both share memory, pins, queues and concurrency with ours; whom they evict, and when, is theirs.
Requests go in the order of arrival: one that waits for room holds back those behind it, as in ollama's
pending queue (a load that has begun does not). `Unblocked` is the same without that.
"""

from inference.node.effects import Effect, Grant
from inference.node.placement import Placement
from inference.node.residents import Instance, Model, Ticket
from inference.node.scheduler import Scheduler


class Plain(Scheduler):
    """Makes room at once, in the order in which requests came; no residency, no batching."""

    def _advance(self, now: float, out: list[Effect]) -> None:
        waiting = [(t, m) for m in self.models.values() for t in m.queue]
        for ticket, model in sorted(waiting, key=lambda pair: (pair[0].since, pair[0].id)):
            if self.blocked(model, now, out):
                break
            if model.instance and model.instance.free_slots:
                self._give(ticket, model, model.instance, now, out)

    def blocked(self, model: Model, now: float, out: list[Effect]) -> bool:
        """Find room for a model that has none; tell whether it still waits for it."""
        if model.instance is None:
            self._place(model, now, out)
        for instance in [*self.instances.values()]:
            if instance.state == "committed":
                self._start_if_free(instance, now, out)
        return model.instance is None or model.instance.state == "committed"

    def _give(
        self, ticket: Ticket, model: Model, instance: Instance, now: float, out: list[Effect]
    ) -> None:
        self.unqueue(model, ticket)
        instance.offered[ticket.id] = ticket
        instance.last_used_at = now
        self.granted[ticket.id] = instance
        out.append(Grant(ticket.id, instance.id))

    def _place(self, model: Model, now: float, out: list[Effect]) -> None:
        placement = model.placements[0]
        able = [i for i in self.instances.values() if i.state == "ready" and not i.spec.pinned]
        victims: list[Instance] = []
        for candidate in self.order(able):
            if self._room(placement, victims):
                break
            victims.append(candidate)
        if not self._room(placement, victims):
            return
        for victim in victims:
            self.drain(victim, f"makes room for {model.name}", now, out)
        number = next(self.numbers)
        instance = Instance(number, model.spec, placement, dict(placement.claim))
        self.instances[number] = instance
        model.instances.append(instance)

    def _room(self, placement: Placement, victims: list[Instance]) -> bool:
        free = self.free()["cpu"] + sum(v.claim["cpu"] for v in victims)
        return free >= placement.claim["cpu"]

    def order(self, able: list[Instance]) -> list[Instance]:
        raise NotImplementedError


class LeastRecentlyUsed(Plain):
    """The one used longest ago, drained if it is busy."""

    def order(self, able: list[Instance]) -> list[Instance]:
        return sorted(able, key=lambda i: i.last_used_at)


class FirstIdle(Plain):
    """The first that has nothing to do; waits while all are busy."""

    def order(self, able: list[Instance]) -> list[Instance]:
        return [i for i in able if not i.in_flight]


class Unblocked(FirstIdle):
    """First-idle where nobody waits behind another model's load: kinder than any that we know."""

    def _advance(self, now: float, out: list[Effect]) -> None:
        Scheduler._advance(self, now, out)
