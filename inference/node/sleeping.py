"""Engines that sleep: weights in main memory, GPUs free for others. A part of the scheduler.

A sleeping engine is no resident: it takes no request and no model place, nothing is planned around it, and it
ends as soon as anybody wants its memory. The next load of its model takes its process over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference import sizes
from inference.errors import HubError
from inference.node.effects import Effect, Record, Sleep, Stop
from inference.node.eviction import Fits, Verdict, plan
from inference.node.placement import Placement
from inference.node.residents import Instance, Model
from inference.node.standing import Standing

RESTING = frozenset({"dozing", "asleep"})
WANTED = "its sleep ends: the memory is wanted"


@dataclass(slots=True)
class Sleeping(Standing):
    # --- to sleep -------------------------------------------------------------------------------

    def put_to_sleep(self, instance: Instance, now: float, out: list[Effect]) -> bool:
        """Let an engine that leaves and has nothing to do sleep instead of ending; give whether it may."""
        claim = _asleep(instance)
        if not self._may_sleep(instance) or not self._has_room(instance, claim):
            return False
        instance.state, instance.load_deadline = "dozing", now + instance.move_limit_s
        instance.awake = instance.claim
        instance.claim = {**instance.claim, "cpu": claim["cpu"]}
        out.append(Sleep(instance.id))
        return True

    def fallen_asleep(self, instance_id: int, out: list[Effect]) -> None:
        instance = self.instances.get(instance_id)
        if instance is None or instance.state != "dozing":
            return  # it was told to end meanwhile
        model = self.models[instance.name]
        instance.state, instance.claim = "asleep", _asleep(instance, is_moved=True)
        model.sleeper = instance
        kept = sizes.text(instance.claim["cpu"])
        out.append(Record("sleep", instance.name, f"{kept} of main memory keep it at hand"))
        for heir in model.instances:
            if heir.state == "committed":
                self._bind(heir, instance)

    def _may_sleep(self, instance: Instance) -> bool:
        model = self.models[instance.name]
        if not instance.tired or not instance.can_sleep or not instance.placement.asleep:
            return False
        if model.removed or model.sleepless or model.spec.version != instance.spec.version:
            return False
        others = [i for i in self._resting(model) if i is not instance]
        return not others and not model.instances and not self.policy.company.foes(model.name)

    def _has_room(self, instance: Instance, claim: dict[str, int]) -> bool:
        """Its weights need room now, and must not be in the way of who is about to come."""
        now = self.rest(self.occupants())
        then = self.rest([*self.staying(), *self._unbound()])
        more = claim["cpu"] - instance.claim.get("cpu", 0)
        beside = all(then.get(device, 0) >= size for device, size in claim.items())
        return now.get("cpu", 0) >= more and beside

    # --- to wake --------------------------------------------------------------------------------

    def find(
        self,
        model: Model,
        places: Sequence[Placement],
        now: float,
        waited_s: float,
        waited_sum_s: float,
    ) -> Verdict:
        """Plan; a sleeping engine is woken, unless fewer must leave for a new one elsewhere."""
        free, limits = self.free(model.spec.engine), self.policy.limits
        residents = self.residents(now)
        target = self.target(model.name, places, waited_s, waited_sum_s)
        anew = plan(target, residents, free, now, limits)
        warm = self._warm_places(model, places)
        if not warm:
            return anew
        found = plan(replace(target, placements=warm), residents, free, now, limits)
        if not isinstance(found, Fits):
            return anew
        dearer = isinstance(anew, Fits) and len(anew.victims) < len(found.victims)
        return anew if dearer else found

    def sleeper_for(self, instance: Instance) -> Instance | None:
        """Give whom it wakes; where that one has ended meanwhile, it starts anew."""
        if not instance.placement.wakes:
            return None
        found = self.instances.get(instance.placement.wakes)
        if found is not None and found.state == "asleep":
            return found
        place, backup = instance.placement, instance.placement.asleep["cpu"]
        claim = {**place.claim, "cpu": place.claim["cpu"] - backup}
        instance.placement, instance.claim = replace(place, claim=claim, wakes=0), claim
        return None

    def take_over(self, sleeper: Instance) -> None:
        """Its process is another instance's from here on."""
        sleeper.state = "dead"
        del self.instances[sleeper.id]

    def lost_asleep(
        self, model: Model, error: HubError | None, was: str, out: list[Effect]
    ) -> None:
        """Falling asleep, in its sleep or while it woke: those who wait get a new engine."""
        why = error.message if error else "its process ended"
        model.sleepless = model.sleepless or error is not None or was == "loading"
        out.append(Record("fail", model.name, f"its sleep went wrong ({why}): loaded anew"))

    def _warm_places(self, model: Model, places: Sequence[Placement]) -> list[Placement]:
        sleeper = model.sleeper
        if sleeper is None or sleeper.id in self._bound() or not model.sleeps:
            return []
        same = any(place.devices == sleeper.placement.devices for place in places)
        return [_over(sleeper)] if same else []

    def _bind(self, heir: Instance, sleeper: Instance) -> None:
        """It was planned as a new engine while its model's last one was still falling asleep."""
        warm = _over(sleeper)
        others = [holder for holder in self.staying() if holder is not heir]
        rest = self.rest(others)
        same = heir.placement.devices == sleeper.placement.devices
        if same and all(rest.get(device, 0) >= size for device, size in warm.claim.items()):
            heir.placement, heir.claim = warm, dict(warm.claim)

    # --- for good -------------------------------------------------------------------------------

    def clear_sleepers(self, now: float, out: list[Effect]) -> None:
        """Sleep is for memory that nobody wants, and for models that no other engine serves."""
        for sleeper in self._unbound():
            model = self.models[sleeper.name]
            if len(model.instances) >= model.replicas:
                self.end_sleep(sleeper, "its sleep ends: another engine serves its model", out)
        while (spare := self._unbound()) and self._is_short(spare):
            least = min(spare, key=lambda i: (self._chance(i, now), i.last_used_at))
            self.end_sleep(least, WANTED, out)

    def end_sleeps(self, model: Model, why: str, out: list[Effect]) -> bool:
        """End what sleeps of a model, or is about to; give whether there was any."""
        found = self._resting(model)
        for instance in found:
            self.end_sleep(instance, why, out)
        return bool(found)

    def held_by(self, model: Model) -> list[int]:
        """Give the numbers of its engines that do not leave yet."""
        return [instance.id for instance in [*model.instances, *self._resting(model)]]

    def end_overdue(self, now: float, out: list[Effect]) -> None:
        for instance in [i for i in self.instances.values() if i.state == "dozing"]:
            if now > instance.load_deadline:
                self.models[instance.name].sleepless = True
                self.end_sleep(instance, "it did not fall asleep in time", out)

    def end_sleep(self, instance: Instance, why: str, out: list[Effect]) -> None:
        instance.state, instance.stopping, instance.why = "draining", True, why
        out += [Record("unload", instance.name, why), Stop(instance.id, why)]

    def _resting(self, model: Model) -> list[Instance]:
        own = [i for i in self.instances.values() if i.name == model.name]
        return [i for i in own if i.state in RESTING]

    def _unbound(self) -> list[Instance]:
        """Give who sleeps and is not about to be woken."""
        bound = self._bound()
        return [i for i in self.instances.values() if i.state == "asleep" and i.id not in bound]

    def _bound(self) -> set[int]:
        return {i.placement.wakes for i in self.instances.values() if i.state == "committed"}

    def _is_short(self, spare: Sequence[Instance]) -> bool:
        left = self.rest([*self.staying(), *spare])
        return any(left.get(device, 0) < 0 for sleeper in spare for device in sleeper.claim)

    def beside_sleepers(self, wakes: int = 0) -> dict[str, int]:
        """Give what is free while they sleep on, but for the one that is woken."""
        others = [i for i in self.instances.values() if i.state in RESTING and i.id != wakes]
        return self.rest([*self.staying(), *others])

    def is_free_beside_sleepers(self, placement: Placement) -> bool:
        free = self.beside_sleepers(placement.wakes)
        return all(free.get(device, 0) >= size for device, size in placement.claim.items())

    def _chance(self, sleeper: Instance, now: float) -> float:
        return self.models[sleeper.name].usage.chance(now)


def _asleep(instance: Instance, *, is_moved: bool = False) -> dict[str, int]:
    """Give its claim in its sleep. Whoever was woken still holds the pages of its last one."""
    kept = instance.placement.asleep
    more = 0 if is_moved or instance.placement.wakes else kept.get("cpu", 0)
    return {**kept, "cpu": instance.claim.get("cpu", 0) + more}


def _over(sleeper: Instance) -> Placement:
    """Give the place of an engine that takes it over: what that holds is its own, its KV has its size."""
    place = sleeper.placement
    held = {d: max(size, sleeper.claim.get(d, 0)) for d, size in sleeper.awake.items()}
    return replace(place, claim=held, kv_min_bytes=place.kv_bytes, wakes=sleeper.id)
