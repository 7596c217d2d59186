"""Who leaves the memory, and why: drained, idle, broken, not wanted any more. The scheduler's lower half.

Draining is final: an instance that was told to leave takes no more requests and never comes back.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from inference import wire
from inference.errors import DeadlineExceeded, HubError, LoadFailed, ModelNotFound
from inference.node import replicas, waits
from inference.node.effects import Effect, Record, Refuse, Stop
from inference.node.pace import Pace
from inference.node.placement import Placement
from inference.node.residents import Instance, Model
from inference.node.sleeping import Sleeping

CRASHES_AT_LOAD = 3  # in a row, until those who wait are told
STALE_VERSION_S = 5.0  # so long may a web process still send the version before


@dataclass(slots=True)
class Leaving(Sleeping):
    def drain(
        self,
        instance: Instance,
        why: str,
        now: float,
        out: list[Effect],
        detail: str = "",
        *,
        force: bool = False,
        may_sleep: bool = False,
    ) -> None:
        """Take no more requests; stop, or sleep, when none is left. Never taken back."""
        self.models[instance.name].forget(instance)
        instance.tired = may_sleep
        was, instance.state, instance.why = instance.state, "draining", why
        out.append(Record("unload", instance.name, why, detail))
        if was == "committed":
            del self.instances[instance.id]
        else:
            self.stop_if_empty(instance, now, out, force=force)

    def stop_if_empty(
        self, instance: Instance, now: float, out: list[Effect], *, force: bool = False
    ) -> None:
        if instance.state != "draining" or instance.stopping:
            return
        if not instance.in_flight and self.put_to_sleep(instance, now, out):
            return
        if force or not instance.in_flight:
            instance.stopping = True
            out.append(Stop(instance.id, instance.why, force=instance.in_flight > 0))
            self.abandon(instance)

    def release(self, ticket_id: int, instance: Instance, now: float, out: list[Effect]) -> None:
        instance.offered.pop(ticket_id, None)
        instance.running.pop(ticket_id, None)
        self.granted.pop(ticket_id, None)
        instance.last_used_at = now
        self.stop_if_empty(instance, now, out)

    def unload_idle(self, model: Model, now: float, out: list[Effect]) -> None:
        if model.instances and not model.queue and self.idle_left_s(model, now) == 0.0:
            for instance in [*model.instances]:
                idle_s = now - instance.last_used_at
                self.drain(instance, f"idle for {idle_s:.0f} s", now, out, may_sleep=True)

    def drop_unwanted_load(self, model: Model, now: float, out: list[Effect]) -> None:
        for instance in [*model.instances]:
            if instance.starts and not instance.unasked and not model.queue:
                if instance.placement.wakes and instance.state == "loading":
                    continue  # a second or so: then it is idle like any other, or sleeps again
                self.drain(instance, "nobody waits for it any more", now, out)

    def expire(self, model: Model, now: float, out: list[Effect]) -> None:
        for ticket in [t for t in model.queue if t.deadline_at <= now]:
            self.unqueue(model, ticket)
            why = model.reason or waits.progress(model, 1, now).reason
            late = DeadlineExceeded(
                f"waited {now - ticket.since:.0f} s for {model.name}: {why}",
                retry_after_s=max(1.0, waits.known_eta_s(model, now)),
            )
            late.details = waits.shortage(model)
            out.append(Refuse(ticket.id, late))
        self.drop_unwanted_load(model, now, out)

    def drop_surplus(self, model: Model, now: float, out: list[Effect]) -> None:
        """The operator wants fewer replicas than there are."""
        for instance in replicas.surplus(model):
            self.drain(instance, replicas.TOO_MANY, now, out)

    def shrink(self, now: float, out: list[Effect]) -> None:
        """Unload idle ones where engines grew past a limit, or the operator set narrower rules."""
        if self._is_over():
            why = "the models together grew past the memory limit"
            if not self._drain_idle(why, now, out):
                self._plan_anew(why, now, out)
        elif self._is_crowded():
            self._drain_idle("fewer models may be in memory at once now", now, out)
        else:
            names = {instance.name for instance in self.instances.values() if instance.stays}
            torn = {name for name in names if names & self.policy.company.foes(name)}
            if torn:
                self._drain_idle(
                    "it may not be in memory together with another now", now, out, torn
                )

    def _is_over(self) -> bool:
        stays = self.staying()
        return any(
            limit < sum(i.claim.get(device, 0) for i in stays)
            for device, limit in self.policy.limits.bytes.items()
        )

    def _is_crowded(self) -> bool:
        most = self.policy.limits.max_models
        return 0 < most < sum(instance.stays for instance in self.instances.values())

    def _drain_idle(
        self, why: str, now: float, out: list[Effect], names: Collection[str] | None = None
    ) -> bool:
        party = self.idle_party(names)
        for instance in party:
            self.drain(instance, why, now, out)
        return bool(party)

    def _plan_anew(self, why: str, now: float, out: list[Effect]) -> None:
        """What only was decided may never get its memory now: the youngest is decided again."""
        decided = [i for i in self.instances.values() if i.state == "committed"]
        promised = [lease for lease in self.leases.values() if lease.state == "committed"]
        if decided:
            self.drain(decided[-1], f"planned anew: {why}", now, out)
        elif promised:
            promised[-1].state = "waiting"

    def after_failure(
        self, model: Model, error: HubError | None, now: float, out: list[Effect], *, loading: bool
    ) -> None:
        model.back_off(now)
        model.reason = error.message if error else "its engine process ended unexpectedly"
        out.append(Record("fail", model.name, model.reason))
        if model.instances:
            model.crashed(error, now, self.policy.crash_limit)
            return  # the others go on serving
        if model.crashed(error, now, self.policy.crash_limit):
            out.append(Record("refuse", model.name, waits.CRASHING))
            self.refuse_all(model, waits.crashing(model, now), out)
        if error is None and loading and model.failures >= CRASHES_AT_LOAD:
            error = LoadFailed(f"the engine of {model.name} died {model.failures} times at loading")
        if error and loading:
            model.refusal = error
            error.retry_after_s = model.retry_at - now
            self.refuse_all(model, error, out)

    # --- a model comes, or is no more -------------------------------------------------------------

    def meet(
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
            model.wake_s, model.sleepless = 0.0, False
            model.breaker.close()
            model.pace = Pace()
            self.end_sleeps(model, "replaced by a newer version", out)
            for instance in [*model.instances]:
                self.drain(instance, "replaced by a newer version", now, out)
        model.spec, model.placements, model.removed = spec, placements, False
        return model

    def dismiss(self, model: Model, now: float, out: list[Effect]) -> None:
        model.removed = True
        model.guessed_at = model.usage.last_at  # nobody will ask for it
        gone = ModelNotFound(f"`{model.name}` was removed while this request waited", param="model")
        self.refuse_all(model, gone, out)
        self.end_sleeps(model, "it was removed", out)
        for instance in [*model.instances]:
            self.drain(instance, "it was removed", now, out)
        self.drop_removed(model)

    def drop_removed(self, model: Model) -> None:
        """Know it no longer, once its last engine has ended."""
        is_there = any(instance.name == model.name for instance in self.instances.values())
        if model.removed and not model.queue and not is_there:
            self.models.pop(model.name, None)
