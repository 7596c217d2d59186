"""Who gets which engine when: a pure state machine, driven by the pool, explained in DESIGN.md.

Every `on_*` takes the time as `now` (monotonic seconds) and returns effects in the order in which they
must be carried out. Nothing here waits, reads a clock or touches a process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inference import wire
from inference.errors import Conflict, HubError, LoadFailed
from inference.node import forecast, replicas, waits
from inference.node.effects import Announce, Effect, Grant, Record, Refuse, Start, Stop
from inference.node.eviction import Fits, Impossible, Verdict, Wait
from inference.node.leases import Lease
from inference.node.placement import Bytes, Placement
from inference.node.reserving import Reserving, by_urgency
from inference.node.residents import Instance, Model, Policy, Ticket
from inference.node.sleeping import RESTING


@dataclass(slots=True)
class Scheduler(Reserving):
    """Invariant: claims of instances with a process and of granted leases never exceed the limits."""

    # --- events: requests -------------------------------------------------------------------

    def on_request(self, ticket: Ticket, now: float) -> list[Effect]:
        out: list[Effect] = []
        model = self.meet(ticket.spec, ticket.placements, now, out)
        if refusal := waits.refusal(model, ticket, now):
            return [*out, Refuse(ticket.id, refusal)]
        ticket.since = now
        if ticket.runs:
            model.usage.count(now)
        else:
            model.breaker.close()
        model.queue.append(ticket)
        self.waiting[ticket.id] = model
        self._advance(now, out)
        if ticket.id in self.waiting:
            out += waits.tell_one(model, ticket, now)
        return out

    def on_cancel(self, ticket_id: int, now: float) -> list[Effect]:
        """The client left. Ends its wait at once; in an engine `on_served` must still come."""
        out: list[Effect] = []
        if model := self.waiting.pop(ticket_id, None):
            model.queue = [t for t in model.queue if t.id != ticket_id]
            self.drop_unwanted_load(model, now, out)
        elif (instance := self.granted.get(ticket_id)) and ticket_id in instance.offered:
            self.release(ticket_id, instance, now, out)
        self._advance(now, out)
        return out

    def on_delivered(self, ticket_id: int, now: float) -> None:
        """The engine has the request: only now it is in flight."""
        if instance := self.granted.get(ticket_id):
            instance.offered.pop(ticket_id, None)
            instance.running[ticket_id] = now

    def on_served(self, ticket_id: int, now: float) -> list[Effect]:
        """The engine gave the last frame of this request."""
        instance = self.granted.get(ticket_id)
        if instance is None:
            return []
        out: list[Effect] = []
        if (began := instance.running.get(ticket_id)) is not None:
            self.models[instance.name].count_answer(now - began, instance, now)
        self.release(ticket_id, instance, now, out)
        self._advance(now, out)
        return out

    # --- events: engines --------------------------------------------------------------------

    def on_progress(self, instance_id: int, loaded: int, total: int, now: float) -> None:
        instance = self.instances.get(instance_id)
        if instance and loaded > instance.loaded_bytes:
            instance.loaded_bytes, instance.total_bytes = loaded, total
            instance.extend_load(now)

    def on_ready(
        self, instance_id: int, claim: Bytes, now: float, *, can_sleep: bool = False
    ) -> list[Effect]:
        """The engine answers `Loaded`; `claim` is what it really needs."""
        instance = self.instances[instance_id]
        if instance.state != "loading":
            return []
        model = self.models[instance.name]
        instance.state, instance.claim = "ready", dict(claim)
        instance.ready_at = instance.last_used_at = now
        instance.can_sleep = can_sleep
        told = model.arrived(instance)
        out: list[Effect] = [Record("load", model.name, told, instance.asked)]
        self._advance(now, out)
        return out

    def on_asleep(self, instance_id: int, now: float) -> list[Effect]:
        """The engine has moved its weights to main memory; its GPU is free."""
        out: list[Effect] = []
        self.fallen_asleep(instance_id, out)
        self._advance(now, out)
        return out

    def on_failed(self, instance_id: int, error: HubError | None, now: float) -> list[Effect]:
        """The engine died (`error` is None) or said why it cannot load. `on_gone` must follow."""
        instance = self.instances[instance_id]
        was, instance.state, instance.stopping = instance.state, "dead", True
        model, out = self.models[instance.name], list[Effect]()
        self.abandon(instance)
        is_counted = model.forget(instance)
        if was in RESTING or (was == "loading" and instance.placement.wakes):
            self.lost_asleep(model, error, was, out)
        elif is_counted:
            self.after_failure(model, error, now, out, loading=was == "loading")
        self._advance(now, out)
        return out

    def on_gone(self, instance_id: int, now: float) -> list[Effect]:
        """The process has ended and its memory is back."""
        instance = self.instances.pop(instance_id, None)
        out: list[Effect] = []
        if instance:
            self.models[instance.name].forget(instance)
            self.drop_removed(self.models[instance.name])
        self._advance(now, out)
        return out

    def on_measured(self, instance_id: int, claim: Bytes) -> None:
        """A running engine takes more than was reserved: the claim follows the truth."""
        instance = self.instances.get(instance_id)
        if instance and instance.state in {"ready", "draining", *RESTING}:
            instance.claim = {
                device: max(size, claim.get(device, 0)) for device, size in instance.claim.items()
            }

    # --- events: reservations ---------------------------------------------------------------

    def on_reserve(self, lease: Lease, now: float) -> list[Effect]:
        out: list[Effect] = []
        lease.since = now
        self.leases[lease.id] = lease
        self._advance(now, out)
        return out + self.tell_leases(now)

    def on_resize(self, ticket_id: int, claim_bytes: int, now: float) -> list[Effect]:
        """The process of a reservation was measured; what it does not need is free for others."""
        out: list[Effect] = []
        if lease := self.leases.get(ticket_id):
            lease.resize(claim_bytes)
            self._advance(now, out)
        return out

    def on_release(self, ticket_id: int, now: float) -> list[Effect]:
        """The client has closed: whoever waits goes on."""
        out: list[Effect] = []
        if lease := self.leases.pop(ticket_id, None):
            if lease.is_out:
                held = f"given back after {now - lease.granted_at:.0f} s"
                out.append(Record("release", lease.name, held))
            self._advance(now, out)
        return out

    # --- events: operator, clock --------------------------------------------------------------

    def on_unload(self, name: str, now: float, *, force: bool = False) -> list[Effect]:
        """Raises: Conflict if nothing of that name is loaded."""
        model = self.models.get(name)
        instance = model.instance if model else None
        if model:
            model.guessed_at = model.usage.last_at  # the operator knows better than a guess
        out: list[Effect] = []
        slept = model is not None and self.end_sleeps(model, "asked for by an operator", out)
        if slept and instance is None:
            self._advance(now, out)
            return out
        if model is None or instance is None:
            raise Conflict(f"Nothing to unload: model {name!r} is not loaded.", param="model")
        if instance.starts:
            gone = LoadFailed(f"{name} was unloaded by an operator while it was loading")
            self.refuse_all(model, gone, out)
        for one in self.household(model):
            self.drain(one, "asked for by an operator", now, out, force=force)
        self._advance(now, out)
        return out

    def on_removed(self, name: str, now: float) -> list[Effect]:
        """The model has left the catalog: who waits is told, who is being answered is answered."""
        out: list[Effect] = []
        if model := self.models.get(name):
            self.dismiss(model, now, out)
            self._advance(now, out)
        return out

    def on_met(
        self, spec: wire.ModelSpec, placements: Sequence[Placement], now: float
    ) -> list[Effect]:
        """Learn of a model before anybody asks for it, because it belongs to another's company."""
        out: list[Effect] = []
        self.meet(spec, placements, now, out)
        self._advance(now, out)
        return out

    def on_revise(self, spec: wire.ModelSpec, now: float) -> list[Effect]:
        """Pin, priority and idle time hold at once; those who wait may go on."""
        out: list[Effect] = []
        model = self.models.get(spec.name)
        if model and model.spec.version == spec.version:
            model.spec = spec
            for instance in model.instances:
                instance.spec = spec
            self._advance(now, out)
        return out

    def on_policy(self, policy: Policy, now: float) -> list[Effect]:
        """Follow other rules at once: what only was decided is planned anew, who is idle may leave."""
        out: list[Effect] = []
        self.policy = policy
        for instance in [i for i in self.instances.values() if not i.has_process]:
            self.drain(instance, "planned anew: the rules were changed", now, out)
        self.shrink(now, out)
        self._advance(now, out)
        return out

    def on_tick(self, now: float) -> list[Effect]:
        """Call a few times a second: deadlines, idle models, load deadlines, retries."""
        out: list[Effect] = []
        for model in self.models.values():
            self.expire(model, now, out)
            self.unload_idle(model, now, out)
        self.expire_leases(now, out)
        self.end_overdue(now, out)
        for instance in [*self.instances.values()]:
            if instance.state == "loading" and now > instance.load_deadline:
                self._give_up_load(instance, now, out)
        self.shrink(now, out)
        self._advance(now, out)
        self._foresee(now, out)
        for model in self.models.values():
            out += waits.tell_all(model, now)
        return out + self.tell_leases(now)

    # --- the core: serve, place, start ----------------------------------------------------------

    def _advance(self, now: float, out: list[Effect]) -> None:
        hungry = list({id(model): model for model in self.waiting.values()}.values())
        for model in hungry:
            self._serve(model, now, out)
        homeless = [m for m in hungry if m.queue and not m.instances and m.retry_at <= now]
        self._place_all(homeless, now, out)
        self._complete_parties(now, out)
        self._replicate(now, out)
        self.clear_sleepers(now, out)
        for instance in [*self.instances.values()]:
            if instance.state == "committed":
                self._start_if_free(instance, now, out)
        for lease in self.leases.values():
            if lease.state == "committed":
                self.lend_if_free(lease, now, out)

    def _place_all(self, homeless: list[Model], now: float, out: list[Effect]) -> None:
        """Models and reservations that have no room, the most urgent first."""
        for one in by_urgency(homeless, self.leases.values(), now, self.policy.ageing_s):
            if isinstance(one, Lease):
                self.place_lease(one, now, out)
            else:
                self._place(one, now, out)

    def _serve(self, model: Model, now: float, out: list[Effect]) -> None:
        """Grant what the model's engines can take."""
        first = model.instance
        if first is None or first.state != "ready":
            return
        for ticket in [t for t in model.queue if not t.runs]:
            self.unqueue(model, ticket)
            out.append(Announce(ticket.id, first.id))
        while model.queue:
            ticket = model.next_ticket
            instance = replicas.choose(model, ticket)
            if instance is None:
                return
            self.unqueue(model, ticket)
            instance.learn(ticket.lineage)
            instance.offered[ticket.id] = ticket
            instance.last_used_at, instance.unasked = now, False
            self.granted[ticket.id] = instance
            out.append(Grant(ticket.id, instance.id))

    def _place(self, model: Model, now: float, out: list[Effect]) -> None:
        """Find room for a model that has none, and commit to it."""
        verdict = self._plan_for(model, model.placements, now)
        if isinstance(verdict, Impossible):
            error = waits.does_not_fit(model.name, verdict)
            self.refuse_all(model, error, out)
            out.append(Record("refuse", model.name, verdict.reason))
        elif isinstance(verdict, Wait):
            if model.begins_to_wait(now):
                out.append(Record("wait", model.name, verdict.reason))
            model.reason, model.held = verdict.reason, verdict
        else:
            first = model.next_ticket
            why = f"wanted by {first.spec.name} ({len(model.queue)} waiting)"
            self._commit(model, verdict, why, now, out).asked = waits.asked(model)

    def _plan_for(self, model: Model, places: Sequence[Placement], now: float) -> Verdict:
        """Plan for those who wait: the longer they do, the more leave for them."""
        oldest = min((ticket.since for ticket in model.queue), default=now)
        waited_s = sum(now - ticket.since for ticket in model.queue)
        return self.find(model, places, now, now - oldest, waited_s)

    def _replicate(self, now: float, out: list[Effect]) -> None:
        """Have as many engines of a model as are wanted; idle memory is enough for them to come."""
        for model in self.models.values():
            if len(model.instances) in {0, model.replicas}:
                continue
            self.drop_surplus(model, now, out)
            if not replicas.wants_another(model, now) or not (places := replicas.places(model)):
                continue
            found = self._plan_for(model, places, now)
            if isinstance(found, Fits) and replicas.may_take(found.victims, model):
                count = f"replica {len(model.instances) + 1} of {model.replicas}"
                instance = self._commit(model, found, count, now, out)
                instance.asked, instance.unasked = f"{count} on {instance.placement.device}", True

    def _commit(
        self, model: Model, found: Fits, why: str, now: float, out: list[Effect]
    ) -> Instance:
        number = next(self.numbers)
        instance = Instance(number, model.spec, found.placement, dict(found.placement.claim))
        self.instances[number] = instance
        model.instances.append(instance)
        for victim in found.victims:
            detail = waits.sacrifice(victim, now)
            self.evict(victim, f"makes room, {why}", now, out, detail)
        model.reason = waits.room_reason(found.victims)
        return instance

    def _complete_parties(self, now: float, out: list[Effect]) -> None:
        """Who must be there with a model that stays comes too."""
        if not self.policy.company.together:
            return
        for host in [self.models[i.name] for i in self.instances.values() if i.stays]:
            for friend in self.friends(host):
                if friend.instance is None and not friend.failures and not friend.queue:
                    why = f"always together with {host.name}"
                    self._fetch(friend, why, now, out, waited_s=float("inf"))

    def _foresee(self, now: float, out: list[Effect]) -> None:
        """Nothing loads, nobody waits: fetch what is expected, if it harms nobody."""
        starting = any(i.state not in {"ready", "asleep"} for i in self.instances.values())
        reserved = any(lease.waits for lease in self.leases.values())
        if self.waiting or reserved or starting or not self.policy.prefetch:
            return
        for model in forecast.expected(self.models.values(), now):
            if self._fetch(model, forecast.why(model, now), now, out):
                model.guessed_at = model.usage.last_at
                return

    def _fetch(
        self, model: Model, why: str, now: float, out: list[Effect], waited_s: float = 0.0
    ) -> bool:
        """Load a model nobody asked for; only one that had to wait for ever unloads others."""
        found = self.find(model, model.placements, now, waited_s, waited_s)
        if not isinstance(found, Fits):
            return False
        if not waited_s and (found.victims or not self.is_free_beside_sleepers(found.placement)):
            return False
        instance = self._commit(model, found, why, now, out)
        instance.asked, instance.unasked = why, True
        return True

    def _start_if_free(self, instance: Instance, now: float, out: list[Effect]) -> None:
        """Start a committed load once the memory of those who left for it is really back."""
        instance.is_held, sleeper = self.is_finishing(), self.sleeper_for(instance)
        there = [i for i in self.instances.values() if i.has_process and i.state != "asleep"]
        others = [one for one in self.occupants() if one is not sleeper]
        rest = self.rest(others, instance.spec.engine)
        limit = self.policy.limits.max_models
        if limit and len(there) >= limit:
            return
        if any(i.name in self.policy.company.foes(instance.name) for i in there):
            return
        if any(rest.get(device, 0) < size for device, size in instance.claim.items()):
            return
        if sleeper:
            self.take_over(sleeper)
        instance.state, instance.started_at = "loading", now
        instance.total_bytes = instance.placement.weights_bytes
        instance.extend_load(now)
        self.models[instance.name].reason = ""
        out.append(Start(instance.id, instance.spec, instance.placement))

    # --- smaller rules ----------------------------------------------------------------------------

    def _give_up_load(self, instance: Instance, now: float, out: list[Effect]) -> None:
        model = self.models[instance.name]
        out.append(Stop(instance.id, "loading made no progress", force=True))
        error = LoadFailed(f"loading {model.name} made no progress and was given up")
        out += self.on_failed(instance.id, error, now)
