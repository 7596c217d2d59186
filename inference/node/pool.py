"""The scheduler's hands: engine processes, the clients who wait, the clock. One asyncio loop."""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from inference import wire
from inference.errors import EngineFailed, HubError, LoadFailed, from_code
from inference.node import effects as fx
from inference.node.devices import Device
from inference.node.engines import Running, Totals
from inference.node.eviction import Placement
from inference.node.memory import Peaks, placements
from inference.node.residents import Ticket
from inference.node.scheduler import Policy, Scheduler
from inference.node.standby import Standby

TICK_S = 0.25
MEASURE_EVERY_TICKS = 4
DECISIONS_KEPT = 100
PROBE_LIMIT_S = 30.0
PROBE_STREAMS = 1 << 31  # stream numbers from here on are the node's own probes

log = logging.getLogger(__name__)


class Client(Protocol):
    """Whoever waits at the other end of a connection."""

    def forward(self, frame: bytes) -> None:
        """Pass an engine's frame on; it is not the last one."""

    def finish(self, message: wire.Done | wire.Failure | wire.Loaded) -> None:
        """Give the last frame."""

    def tell(self, progress: wire.Progress) -> None: ...


@dataclass(slots=True, eq=False)
class Request:
    """A client's place in the pool, from its arrival to its last frame."""

    ticket: int
    name: str
    body: wire.Body | None  # None: it only wants the model loaded
    client: Client | None  # None: it has left
    request_id: str = ""
    arrived_at: float = field(default_factory=time.monotonic)
    granted_at: float = 0.0
    instance: int = 0


@dataclass(slots=True)
class Pool:
    """Implements `effects.Effects` with processes of this machine."""

    devices: Sequence[Device]
    policy: Policy
    state_dir: Path
    threads: int
    standby_count: int = 0
    hang_s: float = 60.0
    decisions: deque[wire.Decision] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
    totals: dict[str, Totals] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    _requests: dict[int, Request] = field(default_factory=dict)
    _places: dict[str, tuple[wire.ModelSpec, tuple[Placement, ...]]] = field(default_factory=dict)
    _gone: dict[str, list[asyncio.Future[None]]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _tickets: Any = field(default_factory=lambda: itertools.count(1))
    scheduler: Scheduler = field(init=False)
    peaks: Peaks = field(init=False)
    standby: Standby = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.policy)
        self.peaks = Peaks(self.state_dir / "peaks.json")
        self.standby = Standby(self.standby_count, self.threads)

    # --- what the server calls -----------------------------------------------------------------

    def submit(self, message: wire.Submit, client: Client) -> int:
        request = Request(
            next(self._tickets), message.spec.name, message.body, client, message.request_id
        )
        return self._enter(request, message.spec, message.deadline_s, message.priority)

    def load(self, message: wire.Load, client: Client) -> int:
        request = Request(next(self._tickets), message.spec.name, None, client)
        return self._enter(request, message.spec, message.deadline_s, 0)

    def leave(self, ticket: int) -> None:
        """The client has gone: end its wait, or stop its tokens."""
        request = self._requests.get(ticket)
        if request is None or request.client is None:
            return
        request.client = None
        self._total(request.name).cancelled += 1
        if request.granted_at and (running := self.running.get(request.instance)):
            running.send(wire.Cancel(), ticket)
            return
        del self._requests[ticket]
        self._do(self.scheduler.on_cancel(ticket, time.monotonic()))

    async def unload(self, name: str, *, force: bool) -> None:
        """Return when the memory is back. Raises: NotFound."""
        gone = asyncio.get_running_loop().create_future()
        instance = self._resident(name)
        out = self.scheduler.on_unload(name, time.monotonic(), force=force)
        if instance in self.running:
            self._gone.setdefault(name, []).append(gone)
        else:
            gone.set_result(None)
        self._do(out)
        await gone

    async def run(self) -> None:
        """Keep the clock until cancelled."""
        self.standby.start()
        for tick in itertools.count():
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            if tick % MEASURE_EVERY_TICKS == 0:
                self._measure()
            self._watch_for_hangs(now)
            self._do(self.scheduler.on_tick(now))

    async def close(self) -> None:
        """Stop every engine at once and wait until all are reaped."""
        stops = [r.process.stop(force=True) for r in self.running.values() if r.process]
        for running in self.running.values():
            running.stopping = True
        await asyncio.gather(self.standby.close(), *stops)
        for task in list(self._tasks):
            task.cancel()

    # --- Effects ------------------------------------------------------------------------------

    def grant(self, effect: fx.Grant) -> None:
        request, running = self._requests.get(effect.ticket), self.running[effect.instance]
        now = time.monotonic()
        if request is None or request.body is None:
            self._do(self.scheduler.on_cancel(effect.ticket, now))
            return
        request.granted_at, request.instance = now, effect.instance
        if not running.stats.running:
            running.heard(now)
        running.send(wire.Run(body=request.body), effect.ticket)
        request.body = wire.Probe()  # an upload is not kept twice
        self._total(request.name).requests += 1
        self.scheduler.on_delivered(effect.ticket, now)

    def announce(self, effect: fx.Announce) -> None:
        request, running = self._requests.pop(effect.ticket, None), self.running[effect.instance]
        if request and request.client and running.loaded:
            request.client.finish(running.loaded)

    def start(self, effect: fx.Start) -> None:
        running = Running(
            effect.instance,
            effect.spec.name,
            effect.placement.device,
            effect.placement.claim[effect.placement.device],
        )
        self.running[effect.instance] = running
        self._total(effect.spec.name).loads += 1
        self._spawn(self._launch(running, effect))

    def stop(self, effect: fx.Stop) -> None:
        if (running := self.running.get(effect.instance)) is not None:
            running.stopping = True
            self._spawn(self._end(running, force=effect.force))

    def refuse(self, effect: fx.Refuse) -> None:
        request = self._requests.pop(effect.ticket, None)
        if request and request.client:
            self._total(request.name).failures += 1
            request.client.finish(failure(effect.error))

    def tell(self, effect: fx.Tell) -> None:
        request = self._requests.get(effect.ticket)
        if request and request.client:
            request.client.tell(effect.progress)

    def record(self, effect: fx.Record) -> None:
        log.info("%s %s: %s", effect.action, effect.model, effect.reason)
        self.decisions.append(
            wire.Decision(
                at=time.time(), action=effect.action, model=effect.model, reason=effect.reason
            )
        )

    # --- requests -----------------------------------------------------------------------------

    def _enter(
        self, request: Request, spec: wire.ModelSpec, deadline_s: float, priority: int
    ) -> int:
        self._requests[request.ticket] = request
        try:
            places = self._placements(spec)
        except LoadFailed as error:
            self.refuse(fx.Refuse(request.ticket, error))
            return request.ticket
        now = time.monotonic()
        ticket = Ticket(
            id=request.ticket,
            spec=spec,
            placements=places,
            deadline_at=now + deadline_s,
            priority=priority + spec.priority,
            runs=request.body is not None,
        )
        self._do(self.scheduler.on_request(ticket, now))
        return request.ticket

    def _placements(self, spec: wire.ModelSpec) -> tuple[Placement, ...]:
        """Read the headers once for a spec, and again when nothing of it is resident."""
        known = self._places.get(spec.name)
        if known and known[0] == spec and self._resident(spec.name) is not None:
            return known[1]
        places = placements(spec, self.devices, self.peaks)
        self._places[spec.name] = (spec, places)
        return places

    def _resident(self, name: str) -> int | None:
        model = self.scheduler.models.get(name)
        return model.instance.id if model and model.instance else None

    def _total(self, name: str) -> Totals:
        return self.totals.setdefault(name, Totals())

    def _do(self, out: list[fx.Effect]) -> None:
        fx.carry_out(out, self)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- engines ------------------------------------------------------------------------------

    async def _launch(self, running: Running, effect: fx.Start) -> None:
        spec, place = effect.spec, effect.placement
        try:
            process = await self.standby.take(spec.engine)
        except OSError as error:
            self._failed(running, LoadFailed(f"no process for {spec.name}: {error}"))
            self._went(running)
            return
        running.process, process.tag = process, spec.name
        if running.stopping:  # unloaded while the process was made
            await self._end(running, force=True)
            return
        self._spawn(process.relay_logs())
        settled = msgspec.structs.replace(spec, device=place.device)
        limit = place.allowance_bytes
        process.send(wire.Start(spec=settled, threads=self.threads, memory_bytes=limit))
        process.listen(lambda frame: self._on_frame(running, frame), lambda: self._on_lost(running))

    def _on_frame(self, running: Running, frame: wire.Frame) -> None:
        now = time.monotonic()
        running.heard(now)
        if frame.stream == 0:
            self._on_engine_message(running, frame.decode(), now)
        elif frame.stream >= PROBE_STREAMS:
            return
        elif frame.kind in wire.TERMINAL:
            self._on_last(running, frame, now)
        elif (request := self._requests.get(frame.stream)) and request.client:
            request.client.forward(frame.to_bytes(0))

    def _on_engine_message(self, running: Running, message: wire.Any, now: float) -> None:
        if isinstance(message, wire.Stats):
            running.count(message, now)
        elif isinstance(message, wire.LoadProgress):
            self.scheduler.on_progress(
                running.instance, message.loaded_bytes, message.total_bytes, now
            )
        elif isinstance(message, wire.Loaded):
            running.loaded = message
            running.measure()
            claim = self._claim_of(running, message)
            self._do(self.scheduler.on_ready(running.instance, claim, now))
        elif isinstance(message, wire.Failure):
            error = from_code(message.code, message.message, param=message.param)
            self._failed(running, error)
            self._spawn(self._end(running, force=True))

    def _claim_of(self, running: Running, loaded: wire.Loaded) -> dict[str, int]:
        """Keep what was reserved unless the engine measured more: its KV cache may still grow."""
        claim = dict(self.scheduler.instances[running.instance].claim)
        measured = max(loaded.memory_bytes, running.memory_bytes)
        claim[running.device] = max(claim.get(running.device, 0), measured)
        return claim

    def _on_last(self, running: Running, frame: wire.Frame, now: float) -> None:
        request = self._requests.pop(frame.stream, None)
        if request is not None:
            last = self._last_message(request, frame.decode())
            if request.client:
                request.client.finish(last)
        self._do(self.scheduler.on_served(frame.stream, now))

    def _last_message(self, request: Request, message: wire.Any) -> wire.Done | wire.Failure:
        """Count it, and add the node's own times."""
        total = self._total(request.name)
        if isinstance(message, wire.Done):
            total.add(message.usage)
            return self._timed(message, request)
        total.failures += 1
        return message if isinstance(message, wire.Failure) else failure(EngineFailed("no answer"))

    def _timed(self, done: wire.Done, request: Request) -> wire.Done:
        """Add what only the node knows: the wait, and the part of it that was a load."""
        queue_s = request.granted_at - request.arrived_at
        instance = self.scheduler.instances.get(request.instance)
        began = max(instance.started_at, request.arrived_at) if instance else 0.0
        load_s = max(0.0, instance.ready_at - began) if instance else 0.0
        timing = msgspec.structs.replace(done.timing, queue_s=queue_s, load_s=load_s)
        return msgspec.structs.replace(done, timing=timing)

    def _on_lost(self, running: Running) -> None:
        """The engine's socket closed: it died, unless we ended it."""
        if running.stopping or running.instance not in self.running:
            return
        self._failed(running, None)
        self._spawn(self._end(running, force=True))

    def _failed(self, running: Running, error: HubError | None) -> None:
        running.stopping = True
        dead = [r for r in self._requests.values() if r.instance == running.instance]
        cause = error or EngineFailed(f"the engine of {running.name} died in mid-answer")
        out = self.scheduler.on_failed(running.instance, error, time.monotonic())
        for request in dead:
            if request.granted_at:
                self._requests.pop(request.ticket, None)
                self._total(request.name).failures += 1
                if request.client:
                    request.client.finish(failure(cause))
        self._do(out)

    async def _end(self, running: Running, *, force: bool) -> None:
        if running.process is None:
            return  # `_launch` will see `stopping` and end the process that it gets
        await running.process.stop(force=force)
        log.info("%s stopped; %d MB are back", running.name, running.memory_bytes // 2**20)
        self._went(running)

    def _went(self, running: Running) -> None:
        if self.running.pop(running.instance, None) is None:
            return
        self._fail_leftovers(running)
        for gone in self._gone.pop(running.name, []):
            if not gone.done():
                gone.set_result(None)
        self._do(self.scheduler.on_gone(running.instance, time.monotonic()))

    def _fail_leftovers(self, running: Running) -> None:
        """A forced unload ends what still ran."""
        left = [
            r for r in self._requests.values() if r.instance == running.instance and r.granted_at
        ]
        for request in left:
            del self._requests[request.ticket]
            if request.client:
                request.client.finish(failure(EngineFailed(f"{running.name} was unloaded")))
            self._do(self.scheduler.on_served(request.ticket, time.monotonic()))

    # --- the clock's work -----------------------------------------------------------------------

    def _measure(self) -> None:
        held = self.standby.memory_bytes
        self.scheduler.held_elsewhere["cpu"] = held
        for running in self.running.values():
            if running.loaded is None:
                continue
            size = running.measure()
            self.scheduler.on_measured(running.instance, {running.device: size})
            instance = self.scheduler.instances.get(running.instance)
            if instance is not None and instance.state == "ready":
                self.peaks.note(instance.spec, running.device, size)

    def _watch_for_hangs(self, now: float) -> None:
        """An engine that works but says nothing is asked for one real token, then ended."""
        for running in list(self.running.values()):
            instance = self.scheduler.instances.get(running.instance)
            if not instance or not instance.running or running.loaded is None or running.stopping:
                continue
            if running.probe_at and now - running.probe_at > PROBE_LIMIT_S:
                log.error("%s hangs and is ended", running.name)
                if running.process:
                    running.process.kill()
            elif not running.probe_at and now - running.heard_at > self.hang_s:
                running.probe_at = now
                running.send(wire.Run(body=wire.Probe()), PROBE_STREAMS + running.instance)


def failure(error: HubError) -> wire.Failure:
    return wire.Failure(
        code=error.code,
        message=error.message,
        param=error.param,
        retry_after_s=error.retry_after_s,
    )
