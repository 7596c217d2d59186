"""The node's state as others see it: one snapshot from the scheduler, the pool and the engines."""

import time

import msgspec

from inference import wire
from inference.node.engines import Running
from inference.node.pool import Pool
from inference.node.residents import Instance, Model


def snapshot(pool: Pool) -> wire.Snapshot:
    now = time.monotonic()
    models = [_model(pool, model, now) for model in pool.scheduler.models.values()]
    return wire.Snapshot(
        at=time.time(), devices=_devices(pool), models=models, decisions=list(pool.decisions)
    )


def _devices(pool: Pool) -> list[wire.DeviceInfo]:
    used: dict[str, int] = {"cpu": pool.standby.memory_bytes}
    for running in pool.running.values():
        used[running.device] = used.get(running.device, 0) + running.memory_bytes
    return [
        wire.DeviceInfo(
            name=device.name,
            label=device.label,
            total_bytes=device.total_bytes,
            limit_bytes=device.limit_bytes,
            used_bytes=used.get(device.name, 0),
        )
        for device in pool.devices
    ]


def _model(pool: Pool, model: Model, now: float) -> wire.ModelStatus:
    leaving = [
        i
        for i in pool.scheduler.instances.values()
        if i.name == model.name and i.state == "draining"
    ]
    instance = model.instance or next(iter(leaving), None)
    running = pool.running.get(instance.id) if instance else None
    total = pool.totals.get(model.name)
    status = wire.ModelStatus(
        name=model.name,
        version=model.spec.version,
        state=model.state(now, drains=bool(leaving)),
        kind=model.spec.kind,
        engine=model.spec.engine,
        reason=model.reason,
        waiting=len(model.queue),
        load_s=round(model.load_s, 3),
        pinned=model.spec.pinned,
        unload_in_s=pool.scheduler.idle_left_s(model, now),
        requests_total=total.requests if total else 0,
        failures_total=total.failures if total else 0,
        prompt_tokens_total=total.prompt_tokens if total else 0,
        completion_tokens_total=total.completion_tokens if total else 0,
        cancelled_total=total.cancelled if total else 0,
        loads_total=total.loads if total else 0,
    )
    return _with_engine(_with_instance(status, instance, now), running, now)


def _with_instance(
    status: wire.ModelStatus, instance: Instance | None, now: float
) -> wire.ModelStatus:
    if instance is None:
        return status
    idle = instance.state == "ready" and not instance.in_flight
    return msgspec.structs.replace(
        status,
        running=instance.in_flight,
        progress=round(instance.progress, 3),
        idle_s=round(now - instance.last_used_at, 1) if idle else 0.0,
    )


def _with_engine(status: wire.ModelStatus, running: Running | None, now: float) -> wire.ModelStatus:
    if running is None:
        return status
    loaded = running.loaded or wire.Loaded(memory_bytes=0)
    return msgspec.structs.replace(
        status,
        device=running.device,
        claim_bytes=running.claim_bytes,
        memory_bytes=running.memory_bytes,
        weights_bytes=loaded.weights_bytes,
        kv_bytes=running.stats.kv_bytes or loaded.kv_bytes,
        tokens_per_s=round(running.tokens_per_s(now), 1),
        context_tokens=loaded.context_tokens,
    )
