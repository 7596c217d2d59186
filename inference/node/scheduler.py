"""Who gets which engine when: a pure state machine, driven by the pool, explained in DESIGN.md.

Every `on_*` takes the time as `now` (monotonic seconds) and returns effects in the order in which they
must be carried out. Nothing here waits, reads a clock or touches a process.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from inference import wire
from inference.errors import DeadlineExceeded, HubError, LoadFailed, NotFound, OutOfMemory
from inference.node import forecast, waits
from inference.node.effects import Announce, Effect, Grant, Record, Refuse, Start, Stop
from inference.node.eviction import Bytes, Fits, Impossible, Placement, Wait, plan
from inference.node.residents import Instance, Model, Ticket
from inference.node.standing import Standing

CRASHES_AT_LOAD = 3  # in a row, until those who wait are told
STALE_VERSION_S = 5.0  # so long may a web process still send the version before


@dataclass(slots=True)
class Scheduler(Standing):
    """Invariant: the claims of all instances that have a process never exceed the limits."""

    # --- events: requests -------------------------------------------------------------------

    def on_request(self, ticket: Ticket, now: float) -> list[Effect]:
        out: list[Effect] = []
        model = self._model(ticket.spec, ticket.placements, now, out)
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
            self._drop_unwanted_load(model, now, out)
        elif (instance := self.granted.get(ticket_id)) and ticket_id in instance.offered:
            self._release(ticket_id, instance, now, out)
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
            self.models[instance.name].count_answer(now - began)
        self._release(ticket_id, instance, now, out)
        self._advance(now, out)
        return out

    # --- events: engines --------------------------------------------------------------------

    def on_progress(self, instance_id: int, loaded: int, total: int, now: float) -> None:
        instance = self.instances.get(instance_id)
        if instance and loaded > instance.loaded_bytes:
            instance.loaded_bytes, instance.total_bytes = loaded, total
            instance.extend_load(now)

    def on_ready(self, instance_id: int, claim: Bytes, now: float) -> list[Effect]:
        """The engine answers `Loaded`; `claim` is what it really needs."""
        instance = self.instances[instance_id]
        if instance.state != "loading":
            return []
        model = self.models[instance.name]
        instance.state, instance.claim = "ready", dict(claim)
        instance.ready_at = instance.last_used_at = now
        model.load_s, model.reason = instance.load_s, ""
        told = f"ready after {model.load_s:.1f} s"
        out: list[Effect] = [Record("load", model.name, told, instance.asked)]
        self._advance(now, out)
        return out

    def on_failed(self, instance_id: int, error: HubError | None, now: float) -> list[Effect]:
        """The engine died (`error` is None) or said why it cannot load. `on_gone` must follow."""
        instance = self.instances[instance_id]
        was, instance.state, instance.stopping = instance.state, "dead", True
        model, out = self.models[instance.name], list[Effect]()
        self.abandon(instance)
        if model.instance is instance:
            model.instance = None
            self._after_failure(model, error, now, out, loading=was == "loading")
        self._advance(now, out)
        return out

    def on_gone(self, instance_id: int, now: float) -> list[Effect]:
        """The process has ended and its memory is back."""
        instance = self.instances.pop(instance_id, None)
        out: list[Effect] = []
        if instance and self.models[instance.name].instance is instance:
            self.models[instance.name].instance = None
        self._advance(now, out)
        return out

    def on_measured(self, instance_id: int, claim: Bytes) -> None:
        """A running engine takes more than was reserved: the claim follows the truth."""
        instance = self.instances.get(instance_id)
        if instance and instance.state in {"ready", "draining"}:
            instance.claim = {
                device: max(size, claim.get(device, 0)) for device, size in instance.claim.items()
            }

    # --- events: operator, clock --------------------------------------------------------------

    def on_unload(self, name: str, now: float, *, force: bool = False) -> list[Effect]:
        """Raises: NotFound if nothing of that name is loaded."""
        model = self.models.get(name)
        instance = model.instance if model else None
        if model:
            model.guessed_at = model.usage.last_at  # the operator knows better than a guess
        if model is None or instance is None:
            raise NotFound(f"model {name!r} is not loaded", param="model")
        out: list[Effect] = []
        if instance.starts:
            gone = LoadFailed(f"{name} was unloaded by an operator while it was loading")
            self.refuse_all(model, gone, out)
        for one in self.party(instance):
            self._drain(one, "asked for by an operator", now, out, force=force)
        self._advance(now, out)
        return out

    def on_met(
        self, spec: wire.ModelSpec, placements: Sequence[Placement], now: float
    ) -> list[Effect]:
        """Learn of a model before anybody asks for it, because it belongs to another's company."""
        out: list[Effect] = []
        self._model(spec, placements, now, out)
        self._advance(now, out)
        return out

    def on_revise(self, spec: wire.ModelSpec, now: float) -> list[Effect]:
        """Pin, priority and idle time hold at once; those who wait may go on."""
        out: list[Effect] = []
        model = self.models.get(spec.name)
        if model and model.spec.version == spec.version:
            model.spec = spec
            if model.instance:
                model.instance.spec = spec
            self._advance(now, out)
        return out

    def on_tick(self, now: float) -> list[Effect]:
        """Call a few times a second: deadlines, idle models, load deadlines, retries."""
        out: list[Effect] = []
        for model in self.models.values():
            self._expire(model, now, out)
            self._unload_idle(model, now, out)
        for instance in [*self.instances.values()]:
            if instance.state == "loading" and now > instance.load_deadline:
                self._give_up_load(instance, now, out)
        self._shrink(now, out)
        self._advance(now, out)
        self._foresee(now, out)
        for model in self.models.values():
            out += waits.tell_all(model, now)
        return out

    # --- the core: serve, place, start ----------------------------------------------------------

    def _advance(self, now: float, out: list[Effect]) -> None:
        hungry = list({id(model): model for model in self.waiting.values()}.values())
        for model in hungry:
            self._serve(model, now, out)
        homeless = [m for m in hungry if m.queue and m.instance is None and m.retry_at <= now]
        for model in sorted(homeless, key=lambda m: waits.urgency(m, now, self.policy.ageing_s)):
            self._place(model, now, out)
        self._complete_parties(now, out)
        for instance in [*self.instances.values()]:
            if instance.state == "committed":
                self._start_if_free(instance, now, out)

    def _serve(self, model: Model, now: float, out: list[Effect]) -> None:
        """Grant what the model's engine can take."""
        instance = model.instance
        if instance is None or instance.state != "ready":
            return
        for ticket in [t for t in model.queue if not t.runs]:
            self.unqueue(model, ticket)
            out.append(Announce(ticket.id, instance.id))
        while model.queue and instance.free_slots:
            ticket = model.next_ticket(now, self.policy.ageing_s)
            self.unqueue(model, ticket)
            instance.offered[ticket.id] = ticket
            instance.last_used_at, instance.unasked = now, False
            self.granted[ticket.id] = instance
            out.append(Grant(ticket.id, instance.id))

    def _place(self, model: Model, now: float, out: list[Effect]) -> None:
        """Find room for a model that has none, and commit to it."""
        oldest = min(ticket.since for ticket in model.queue)
        waited_s = sum(now - ticket.since for ticket in model.queue)
        target = self.target(model.name, model.placements, now - oldest, waited_s)
        verdict = plan(target, self.residents(now), self.free(), now, self.policy.limits)
        if isinstance(verdict, Impossible):
            error = OutOfMemory(f"{model.name} does not fit: {verdict.reason}")
            self.refuse_all(model, error, out)
            out.append(Record("refuse", model.name, verdict.reason))
        elif isinstance(verdict, Wait):
            if model.reason != verdict.reason:
                out.append(Record("wait", model.name, verdict.reason))
            model.reason = verdict.reason
        else:
            first = model.next_ticket(now, self.policy.ageing_s)
            why = f"wanted by {first.spec.name} ({len(model.queue)} waiting)"
            self._commit(model, verdict, why, now, out).asked = waits.asked(model)

    def _commit(
        self, model: Model, found: Fits, why: str, now: float, out: list[Effect]
    ) -> Instance:
        for victim in found.victims:
            detail = waits.sacrifice(victim, now)
            self._drain(self.instances[victim.id], f"makes room, {why}", now, out, detail)
        number = next(self.numbers)
        instance = Instance(number, model.spec, found.placement, dict(found.placement.claim))
        self.instances[number] = model.instance = instance
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
        starting = any(i.state != "ready" for i in self.instances.values())
        if self.waiting or starting or not self.policy.prefetch:
            return
        for model in forecast.expected(self.models.values(), now):
            if self._fetch(model, forecast.why(model, now), now, out):
                model.guessed_at = model.usage.last_at
                return

    def _fetch(
        self, model: Model, why: str, now: float, out: list[Effect], waited_s: float = 0.0
    ) -> bool:
        """Load a model nobody asked for; only one that had to wait for ever unloads others."""
        target = self.target(model.name, model.placements, waited_s, waited_s)
        found = plan(target, self.residents(now), self.free(), now, self.policy.limits)
        if not isinstance(found, Fits) or (found.victims and not waited_s):
            return False
        instance = self._commit(model, found, why, now, out)
        instance.asked, instance.unasked = why, True
        return True

    def _start_if_free(self, instance: Instance, now: float, out: list[Effect]) -> None:
        """Start a committed load once the memory of those who left for it is really back."""
        there = [i for i in self.instances.values() if i.has_process]
        rest = self.rest(there)
        limit = self.policy.limits.max_models
        if limit and len(there) >= limit:
            return
        if any(i.name in self.policy.company.foes(instance.name) for i in there):
            return
        if any(rest.get(device, 0) < size for device, size in instance.claim.items()):
            return
        instance.state, instance.started_at = "loading", now
        instance.total_bytes = instance.placement.weights_bytes
        instance.extend_load(now)
        self.models[instance.name].reason = ""
        out.append(Start(instance.id, instance.spec, instance.placement))

    def _drain(
        self,
        instance: Instance,
        why: str,
        now: float,
        out: list[Effect],
        detail: str = "",
        *,
        force: bool = False,
    ) -> None:
        """Take no more requests; stop when none is left. Never taken back."""
        model = self.models[instance.name]
        if model.instance is instance:
            model.instance = None
        was, instance.state, instance.why = instance.state, "draining", why
        out.append(Record("unload", model.name, why, detail))
        if was == "committed":
            del self.instances[instance.id]
        else:
            self._stop_if_empty(instance, out, force=force)

    def _stop_if_empty(self, instance: Instance, out: list[Effect], *, force: bool = False) -> None:
        if instance.state != "draining" or instance.stopping:
            return
        if force or not instance.in_flight:
            instance.stopping = True
            out.append(Stop(instance.id, instance.why, force=instance.in_flight > 0))
            self.abandon(instance)

    def _release(self, ticket_id: int, instance: Instance, now: float, out: list[Effect]) -> None:
        instance.offered.pop(ticket_id, None)
        instance.running.pop(ticket_id, None)
        self.granted.pop(ticket_id, None)
        instance.last_used_at = now
        self._stop_if_empty(instance, out)

    # --- smaller rules ----------------------------------------------------------------------------

    def _model(
        self, spec: wire.ModelSpec, placements: Sequence[Placement], now: float, out: list[Effect]
    ) -> Model:
        """Find the model; a new version replaces the old one, an old one just replaced does not."""
        model = self.models.get(spec.name)
        if model is None:
            model = self.models[spec.name] = Model(spec.name, spec, placements)
        elif spec.version != model.spec.version:
            if now - model.replaced.get(spec.version, -STALE_VERSION_S) < STALE_VERSION_S:
                return model
            model.replaced = {model.spec.version: now}
            model.failures, model.retry_at, model.refusal, model.load_s = 0, 0.0, None, 0.0
            model.breaker.close()
            if model.instance:
                self._drain(model.instance, "replaced by a newer version", now, out)
        model.spec, model.placements = spec, placements
        return model

    def _after_failure(
        self, model: Model, error: HubError | None, now: float, out: list[Effect], *, loading: bool
    ) -> None:
        model.back_off(now)
        model.reason = error.message if error else "its engine process ended unexpectedly"
        out.append(Record("fail", model.name, model.reason))
        if model.crashed(error, now, self.policy.crash_limit):
            out.append(Record("refuse", model.name, waits.CRASHING))
            self.refuse_all(model, waits.crashing(model, now), out)
        if error is None and loading and model.failures >= CRASHES_AT_LOAD:
            error = LoadFailed(f"the engine of {model.name} died {model.failures} times at loading")
        if error and loading:
            model.refusal = error
            error.retry_after_s = model.retry_at - now
            self.refuse_all(model, error, out)

    def _give_up_load(self, instance: Instance, now: float, out: list[Effect]) -> None:
        model = self.models[instance.name]
        out.append(Stop(instance.id, "loading made no progress", force=True))
        error = LoadFailed(f"loading {model.name} made no progress and was given up")
        out += self.on_failed(instance.id, error, now)

    def _expire(self, model: Model, now: float, out: list[Effect]) -> None:
        for ticket in [t for t in model.queue if t.deadline_at <= now]:
            self.unqueue(model, ticket)
            why = model.reason or waits.progress(model, 1, now).reason
            late = DeadlineExceeded(
                f"waited {now - ticket.since:.0f} s for {model.name}: {why}",
                retry_after_s=max(1.0, waits.known_eta_s(model, now)),
            )
            out.append(Refuse(ticket.id, late))
        self._drop_unwanted_load(model, now, out)

    def _unload_idle(self, model: Model, now: float, out: list[Effect]) -> None:
        if model.instance and not model.queue and self.idle_left_s(model, now) == 0.0:
            idle_s = now - model.instance.last_used_at
            self._drain(model.instance, f"idle for {idle_s:.0f} s", now, out)

    def _drop_unwanted_load(self, model: Model, now: float, out: list[Effect]) -> None:
        instance = model.instance
        if instance and instance.starts and not instance.unasked and not model.queue:
            self._drain(instance, "nobody waits for it any more", now, out)

    def _shrink(self, now: float, out: list[Effect]) -> None:
        """When engines grew past the limit, unload idle ones, the least recently used first."""
        stays = [i for i in self.instances.values() if i.stays]
        over = any(
            limit < sum(i.claim.get(device, 0) for i in stays)
            for device, limit in self.policy.limits.bytes.items()
        )
        if over and (party := self.idle_party()):
            for instance in party:
                self._drain(instance, "the models together grew past the memory limit", now, out)
