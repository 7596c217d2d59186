"""What the node tells about itself: counters per model, decisions, the snapshot of a `Watch`."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from inference import wire
from inference.errors import ERRORS, HubError
from inference.node import leases, waits
from inference.node.chronicle import Chronicle
from inference.node.course import Courses
from inference.node.devices import Device
from inference.node.effects import Record
from inference.node.residents import Instance, Model
from inference.node.scheduler import Scheduler

if TYPE_CHECKING:
    from inference.node.running import Request

SHOWN_WAITING = 100
ADAPTERS = 256  # of a base whose totals are kept


@dataclass(slots=True)
class Counters:
    """Totals of one model since the node started; they survive its unloading."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cancelled: int = 0
    loads: int = 0

    def count(self, usage: wire.Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens


@dataclass(slots=True)
class Gauges:
    """What one engine instance was seen doing last."""

    memory_bytes: int = 0
    kv_bytes: int = 0
    weights_bytes: int = 0
    context_tokens: int = 0
    tokens_per_s: float = 0.0
    device: str = ""
    capabilities: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)  # by device, as measured last
    adapters: list[str] = field(default_factory=list)
    adapters_bytes: int = 0
    _seen: tuple[float, int] = (0.0, 0)

    def held(self, device: str, instance: Instance) -> int:
        """Give what it holds of a device that its weights are on."""
        main = self.device or instance.placement.device
        return self.memory_bytes if device == main else self.sizes.get(device, 0)

    def loaded(self, loaded: wire.Loaded) -> None:
        self.memory_bytes = max(self.memory_bytes, loaded.memory_bytes)
        self.weights_bytes, self.kv_bytes = loaded.weights_bytes, loaded.kv_bytes
        self.context_tokens, self.device = loaded.context_tokens, loaded.device
        self.capabilities = loaded.capabilities

    def see(self, stats: wire.Stats, now: float) -> int:
        """Take an engine's own counters; the rate is that of the time since the last ones.

        Gives how many tokens are new.
        """
        then, tokens = self._seen
        span_s = now - then
        if stats.running and then and span_s > 0:
            self.tokens_per_s = max(0, stats.completion_tokens_total - tokens) / span_s
        elif not stats.running:
            self.tokens_per_s = 0.0
        self._seen = (now, stats.completion_tokens_total)
        self.kv_bytes = stats.kv_bytes or self.kv_bytes
        self.adapters, self.adapters_bytes = stats.adapters, stats.adapters_bytes
        return max(0, stats.completion_tokens_total - tokens)


@dataclass(slots=True)
class Ledger:
    counters: dict[str, Counters] = field(default_factory=dict)
    adapters: dict[str, dict[str, Counters]] = field(default_factory=dict)  # by base and name
    gauges: dict[int, Gauges] = field(default_factory=dict)  # by instance
    courses: Courses = field(default_factory=Courses)
    tokens: int = 0  # generated, those of unfinished answers too
    chronicle: Chronicle = field(default_factory=Chronicle)

    def of(self, name: str) -> Counters:
        return self.counters.setdefault(name, Counters())

    def count_request(self, name: str, adapter: str) -> None:
        for counters in self._each(name, adapter):
            counters.requests += 1

    def served(self, request: "Request", timing: wire.Timing, usage: wire.Usage) -> None:
        for counters in self._each(request.name, request.adapter):
            counters.count(usage)
        self._note(request, timing, usage)

    def failed(self, request: "Request", code: str) -> None:
        """What the caller did wrong is no failure of the model's."""
        if ERRORS.get(code, HubError).status < 500:
            return
        self.of(request.name).failures += 1
        self._note(request, None, wire.Usage())

    def _note(self, request: "Request", timing: wire.Timing | None, usage: wire.Usage) -> None:
        """An adapter has a course of its own, beside its base's; a load is no answer."""
        if not request.cancelled and isinstance(request.question, wire.Submit):
            for name in {request.name, request.adapter or request.name}:
                self.courses.note(name, timing, usage, time.time())

    def _each(self, name: str, adapter: str) -> list[Counters]:
        """Give whose totals a request belongs to: its model's, and its adapter's."""
        if not adapter:
            return [self.of(name)]
        own = self.adapters.setdefault(name, {})
        if len(own) >= ADAPTERS and adapter not in own:
            del own[next(iter(own))]
        return [self.of(name), own.setdefault(adapter, Counters())]

    def see(self, instance: int, stats: wire.Stats, now: float) -> None:
        self.tokens += self.gauges[instance].see(stats, now)

    def record(self, record: Record) -> None:
        self.chronicle.add(
            wire.Decision(
                at=time.time(),
                action=record.action,
                model=record.model,
                reason=record.reason,
                detail=record.detail,
            )
        )


def snapshot(
    scheduler: Scheduler, ledger: Ledger, devices: list[Device], standby_bytes: int, now: float
) -> wire.Snapshot:
    return wire.Snapshot(
        at=time.time(),
        devices=[_device(device, scheduler, ledger, standby_bytes) for device in devices],
        models=[
            _model(model, scheduler, ledger, now) for _, model in sorted(scheduler.models.items())
        ],
        decisions=list(ledger.chronicle.decisions),
        reservations=leases.statuses([*scheduler.leases.values()], now, scheduler.policy.ageing_s),
        queue=waits.queue(scheduler.models.values(), now, SHOWN_WAITING),
        max_models=scheduler.policy.limits.max_models,
    )


def _device(
    device: Device, scheduler: Scheduler, ledger: Ledger, standby_bytes: int
) -> wire.DeviceInfo:
    spare = standby_bytes if device.name == "cpu" else 0
    used, held = spare, scheduler.held_elsewhere.get(device.name, 0)
    for instance in scheduler.instances.values():
        gauges = ledger.gauges.get(instance.id)
        if gauges and device.name in instance.devices:
            used += gauges.held(device.name, instance)
    used += sum(lease.sizes.get(device.name, 0) for lease in scheduler.leases.values())
    return wire.DeviceInfo(
        name=device.name,
        label=device.label,
        total_bytes=device.total_bytes,
        limit_bytes=device.limit_bytes,
        used_bytes=used,
        standby_bytes=spare,
        others_bytes=max(0, held - spare),
    )


def _model(model: Model, scheduler: Scheduler, ledger: Ledger, now: float) -> wire.ModelStatus:
    there = [i for i in scheduler.instances.values() if i.name == model.name]
    leaving = [i for i in there if not i.stays and i.state != "asleep"]
    held = model.sleeper if model.sleeps else leaving[-1] if leaving else None
    instance = model.instance or held
    counters = ledger.of(model.name)
    status = wire.ModelStatus(
        name=model.name,
        version=model.spec.version,
        state=model.state(now, drains=bool(leaving)),
        kind=model.spec.kind,
        engine=model.spec.engine,
        reason=model.reason or (instance.why if instance else ""),
        waiting=len(model.queue),
        pinned=model.spec.pinned,
        breaker=model.breaker.state(now),
        unload_in_s=scheduler.idle_left_s(model, now),
        requests_total=counters.requests,
        failures_total=counters.failures,
        prompt_tokens_total=counters.prompt_tokens,
        completion_tokens_total=counters.completion_tokens,
        cancelled_total=counters.cancelled,
        loads_total=counters.loads,
        adapters=_adapters(model.name, instance, ledger),
        replicas=model.replicas,
    )
    if instance is None:
        return status
    status = _with_instance(status, instance, ledger, now)
    own = model.instances or [instance]
    if len(there) < 2 and len(instance.devices) < 2:
        return status
    parts = [p for at, one in enumerate(there, 1) for p in _parts(at, one, ledger)]
    return _with_parts(status, parts, [ledger.gauges.get(one.id) or Gauges() for one in own])


def _parts(number: int, instance: Instance, ledger: Ledger) -> list[wire.Part]:
    """Give what an engine holds on each device; weights and KV are shared evenly."""
    gauges, devices = ledger.gauges.get(instance.id) or Gauges(), instance.devices
    states: dict[str, wire.ModelState] = {"ready": "ready", "asleep": "asleep"}
    return [
        wire.Part(
            replica=number,
            device=device,
            state=states.get(instance.state, "loading" if instance.stays else "draining"),
            memory_bytes=gauges.held(device, instance),
            claim_bytes=instance.claim.get(device, 0) if instance.has_process else 0,
            weights_bytes=gauges.weights_bytes // len(devices),
            kv_bytes=gauges.kv_bytes // len(devices),
            running=len(instance.running),
            reason=instance.why,
        )
        for device in devices
    ]


def _with_parts(
    status: wire.ModelStatus, parts: list[wire.Part], gauges: list[Gauges]
) -> wire.ModelStatus:
    """Sum up what its engines hold and do."""
    staying = [part for part in parts if part.state != "draining"] or parts
    running = {part.replica: part.running for part in staying}
    return msgspec.structs.replace(
        status,
        device=", ".join(dict.fromkeys(part.device for part in staying)),
        memory_bytes=sum(part.memory_bytes for part in staying),
        claim_bytes=sum(part.claim_bytes for part in staying),
        weights_bytes=sum(part.weights_bytes for part in staying),
        kv_bytes=sum(part.kv_bytes for part in staying),
        running=sum(running.values()),
        tokens_per_s=sum(one.tokens_per_s for one in gauges),
        adapters_bytes=sum(one.adapters_bytes for one in gauges),
        parts=parts,
    )


def _adapters(name: str, instance: Instance | None, ledger: Ledger) -> list[wire.AdapterStatus]:
    gauges = ledger.gauges.get(instance.id) if instance else None
    return [
        wire.AdapterStatus(
            name=adapter,
            attached=gauges is not None and adapter in gauges.adapters,
            requests_total=counters.requests,
            prompt_tokens_total=counters.prompt_tokens,
            completion_tokens_total=counters.completion_tokens,
        )
        for adapter, counters in sorted(ledger.adapters.get(name, {}).items())
    ]


def _with_instance(
    status: wire.ModelStatus, instance: Instance, ledger: Ledger, now: float
) -> wire.ModelStatus:
    gauges = ledger.gauges.get(instance.id) or Gauges()
    idle = instance.state == "ready" and not instance.in_flight
    device = instance.placement.device
    return msgspec.structs.replace(
        status,
        device=gauges.device or device,
        claim_bytes=instance.claim.get(device, 0) if instance.has_process else 0,
        memory_bytes=gauges.memory_bytes,
        weights_bytes=gauges.weights_bytes,
        kv_bytes=gauges.kv_bytes,
        context_tokens=gauges.context_tokens,
        capabilities=gauges.capabilities,
        tokens_per_s=gauges.tokens_per_s,
        adapters_bytes=gauges.adapters_bytes,
        load_s=instance.load_s,
        running=len(instance.running),
        progress=1.0 if instance.state == "ready" else instance.progress,
        idle_s=now - instance.last_used_at if idle else 0.0,
    )
