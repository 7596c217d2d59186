"""Carries out what the scheduler decides with processes of this machine, and tells it what happened.

Used by the server. Everything runs on one event loop; only file headers and memory (`scales`) are read in threads.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Coroutine
from typing import Any

import msgspec

from inference import wire
from inference.errors import (
    AnswerInterrupted,
    EngineOutOfMemory,
    HubError,
    NodeUnavailable,
    from_code,
)
from inference.node import memory
from inference.node.chronicle import Chronicle
from inference.node.clock import every
from inference.node.effects import (
    Announce,
    Effect,
    Grant,
    Lend,
    Recall,
    Record,
    Refuse,
    Sleep,
    Start,
    Stop,
    Tell,
    carry_out,
)
from inference.node.fleet import Fleet
from inference.node.history import STEP_S, History
from inference.node.lending import Lending
from inference.node.placement import Placement
from inference.node.placing import Placing
from inference.node.planner import Planner
from inference.node.replicas import lineage_of
from inference.node.residents import Ticket, policy_of
from inference.node.running import Client, Request, Running, Unloaders, as_failure
from inference.node.scales import MEASURE_S, Scales
from inference.node.scheduler import Scheduler
from inference.node.settings import Newest, NodeSettings
from inference.node.status import Gauges, Ledger, snapshot

TICK_S = 0.25
UNLOADED_S = 5.0  # an operator ended it: it may come back, but not for this request

log = logging.getLogger(__name__)


class Pool:
    """`Effects` for the scheduler, `Events` for the engine instances."""

    def __init__(self, settings: NodeSettings, newest: Newest | None = None) -> None:
        self._settings = settings
        self._newest = newest or (lambda: settings)
        self.fleet = Fleet(settings, self)
        self._sizes = {device.name: device.limit_bytes for device in self.fleet.devices}
        self._scheduler = Scheduler(policy_of(settings, self._sizes))
        self._ledger = Ledger(chronicle=Chronicle(settings.state_dir / "decisions.ndjson"))
        self.history = History()
        self._requests: dict[int, Request] = {}
        self._placing = Placing(self.fleet)
        self._numbers = itertools.count(1)
        self._planner = Planner(self._scheduler, self._placing, self.fleet)
        self.lending = Lending(self._scheduler, self.fleet, self._do, self._numbers)
        self._scales = Scales(self.fleet, self._scheduler, self._ledger, self.lending)
        self._unloaders = Unloaders()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        await self.fleet.open()
        self._task(every(TICK_S, self._tick))
        self._task(every(MEASURE_S, self._scales.weigh))
        self._task(every(STEP_S, self._remember))

    async def close(self) -> None:
        """End every engine, and hang up on all who wait: they ask the next node. Leaves no process behind."""
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for request in [*self._requests.values()]:
            self._hang_up(request)
        self.lending.close()
        for running in self.fleet.running.values():
            running.stopping = True
        await self.fleet.close()

    # --- what clients ask -------------------------------------------------------------------------

    def submit(self, client: Client, question: wire.Submit | wire.Load) -> int:
        """Take a question; the number is for `cancel`."""
        request = Request(next(self._numbers), client, question, time.monotonic())
        self._requests[request.id] = request
        if isinstance(question, wire.Submit):
            request.repeated = question.repeated
            self._ledger.count_request(request.name, request.adapter)
        for spec in question.companions:
            self._task(self._meet(spec))
        self._place(request)
        return request.id

    def cancel(self, number: int) -> None:
        """The client left: end its wait, or stop its tokens."""
        request = self._requests.get(number)
        if self.lending.release(number) or request is None or request.cancelled:
            return
        request.cancelled = True
        if request.running:
            self._ledger.of(request.name).cancelled += 1
            request.running.cancel(request)
        else:
            del self._requests[number]
            self._do(self._scheduler.on_cancel(number, time.monotonic()))

    def unload(self, client: Client, question: wire.Unload) -> None:
        self._do(self._unloaders.ask(client, question, self._scheduler))
        self._unloaders.tell(self._scheduler.instances)

    def forget(self, model: str) -> None:
        self._do(self._scheduler.on_removed(model, time.monotonic()))

    def snapshot(self) -> wire.Snapshot:
        standby, now = self._scales.standby_bytes, time.monotonic()
        return snapshot(self._scheduler, self._ledger, self.fleet.devices, standby, now)

    def course(self, name: str) -> wire.Course:
        return self._ledger.courses.of(name, time.time())

    def _place(self, request: Request) -> None:
        known = self._placing.known(request.question.spec)
        if known is None:
            self._task(self._examine(request))
        else:
            self._enqueue(request, known)

    async def _examine(self, request: Request) -> None:
        """Read the model's headers before it enters the queue."""
        try:
            found = await self._placing.of(request.question.spec)
        except HubError as error:
            self._finish(request, error)
            return
        if request.id in self._requests:
            self._enqueue(request, found)

    async def _meet(self, spec: wire.ModelSpec) -> None:
        """Know a model that must come with the one asked for; if it cannot, that one comes alone."""
        with contextlib.suppress(HubError):
            found = await self._placing.of(spec)
            self._do(self._scheduler.on_met(spec, found, time.monotonic()))

    def revise(self, client: Client, question: wire.Revise) -> None:
        self._do(self._scheduler.on_revise(question.spec, time.monotonic()))
        client.finish(wire.Done())

    def plan(self, client: Client, question: wire.Plan | wire.PlanReservation) -> None:
        self._task(self._planner.answer(client, question))

    def _enqueue(self, request: Request, placements: list[Placement]) -> None:
        question = request.question
        ticket = Ticket(
            id=request.id,
            spec=question.spec,
            placements=placements,
            deadline_at=request.since + question.deadline_s,
            runs=isinstance(question, wire.Submit),
            lineage=lineage_of(question),
        )
        self._do(self._scheduler.on_request(ticket, time.monotonic()))

    # --- Effects ----------------------------------------------------------------------------------

    def grant(self, effect: Grant) -> None:
        request = self._requests.get(effect.ticket)
        running = self.fleet.running.get(effect.instance)
        now = time.monotonic()
        if request is None or running is None or not isinstance(request.question, wire.Submit):
            self._do(self._scheduler.on_cancel(effect.ticket, now))
            return
        instance = self._scheduler.instances[effect.instance]
        request.granted_at = now
        request.load_s = max(0.0, instance.ready_at - max(request.since, instance.started_at))
        if running.run(request, request.question.body):
            self._scheduler.on_delivered(request.id, now)
            if request.told:
                request.client.send(wire.Progress(state="running"))
            self.history.see_running(sum(len(r.streams) for r in self.fleet.running.values()))

    def announce(self, effect: Announce) -> None:
        request = self._requests.pop(effect.ticket, None)
        if request and (loaded := self.fleet.running[effect.instance].loaded):
            load_s = self._scheduler.instances[effect.instance].load_s
            request.client.finish(msgspec.structs.replace(loaded, load_s=load_s))

    def start(self, effect: Start) -> None:
        self._ledger.of(effect.spec.name).loads += 1
        self._ledger.gauges[effect.instance] = Gauges()
        self._ledger.gauges.pop(effect.placement.wakes, None)
        self.fleet.start(effect)

    def stop(self, effect: Stop) -> None:
        running = self.fleet.running[effect.instance]
        self.fleet.stop(running)
        text = f"{running.name} was unloaded: {effect.reason}"
        self._fail_streams(running, AnswerInterrupted(text, retry_after_s=UNLOADED_S))

    def sleep(self, effect: Sleep) -> None:
        self.fleet.running[effect.instance].doze()

    def refuse(self, effect: Refuse) -> None:
        if request := self._requests.get(effect.ticket):
            self._finish(request, effect.error)
        else:
            self.lending.refuse(effect)

    def tell(self, effect: Tell) -> None:
        if request := self._requests.get(effect.ticket):
            request.told = True
            request.client.send(effect.progress)
        else:
            self.lending.tell(effect)

    def lend(self, effect: Lend) -> None:
        self.lending.lend(effect)

    def recall(self, effect: Recall) -> None:
        self.lending.recall(effect)

    def record(self, effect: Record) -> None:
        log.info("%s %s: %s", effect.action, effect.model, effect.reason)
        self._ledger.record(effect)

    # --- Events -----------------------------------------------------------------------------------

    def on_part(self, request: Request, frame: wire.Frame) -> None:
        request.first_at = request.first_at or time.monotonic()
        if not request.client.forward(frame):
            log.warning(
                "%s is cancelled: its client does not read",
                request.name,
                extra={"request_id": request.tag},
            )
            request.client.abort()
            self.cancel(request.id)

    def on_end(self, request: Request, message: wire.Done | wire.Failure) -> None:
        now = time.monotonic()
        self._requests.pop(request.id, None)
        if isinstance(message, wire.Done):
            timing = request.timing(message.timing, now)
            self._ledger.served(request, timing, message.usage)
            message = msgspec.structs.replace(message, timing=timing)
        else:
            self._ledger.failed(request, message.code)
        if not request.cancelled:
            request.client.finish(message)
        request.log_end(message, now)
        self._do(self._scheduler.on_served(request.id, now))

    def on_loaded(self, running: Running, loaded: wire.Loaded) -> None:
        self._ledger.gauges[running.id].loaded(loaded)
        claim = memory.settled(running.order.placement, loaded, {})
        self.fleet.learn(running, claim)
        self.fleet.learn_base(running)
        self.fleet.hold(running, claim.get("cpu", running.given_bytes))
        now = time.monotonic()
        self._do(self._scheduler.on_ready(running.id, claim, now, can_sleep=loaded.sleeps))

    def on_asleep(self, running: Running) -> None:
        self._do(self._scheduler.on_asleep(running.id, time.monotonic()))

    def on_load_failed(self, running: Running, failure: wire.Failure) -> None:
        error = from_code(failure.code, failure.message, param=failure.param)
        self.fleet.learn_refused(running, error)
        effects = self._scheduler.on_failed(running.id, error, time.monotonic())
        self.fleet.stop(running)
        self._do(effects)

    def on_load_progress(self, running: Running, progress: wire.LoadProgress) -> None:
        now = time.monotonic()
        self._scheduler.on_progress(running.id, progress.loaded_bytes, progress.total_bytes, now)

    def on_stats(self, running: Running, stats: wire.Stats) -> None:
        self._ledger.see(running.id, stats, time.monotonic())

    def on_exit(self, running: Running) -> None:
        """Its process has ended, or will within a second."""
        if not running.stopping:
            running.stopping = True
            died = self.fleet.cause(running, time.monotonic())
            died.may_repeat = True
            log.error("%s", died.message, extra={"model": running.name})
            self._placing.forget()
            memory_ran_out = died if isinstance(died, EngineOutOfMemory) else None
            effects = self._scheduler.on_failed(running.id, memory_ran_out, time.monotonic())
            again = self._take_unbegun(running)
            self._fail_streams(running, died)
            self._do(effects)
            for request in again:
                self._place(request)
        self._task(self._see_off(running))

    async def _see_off(self, running: Running) -> None:
        await self.fleet.gone(running)
        self._ledger.gauges.pop(running.id, None)
        self._placing.forget()
        self._do(self._scheduler.on_gone(running.id, time.monotonic()))
        self._unloaders.tell(self._scheduler.instances)

    # --- clock ------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now = time.monotonic()
        if (told := self._newest()) != self._settings:
            self._settings = told
            self._do(self._scheduler.on_policy(policy_of(told, self._sizes), now))
        self._do(self._scheduler.on_tick(now))
        for running in [*self.fleet.running.values()]:
            if not running.check_life(self._settings.hang_s, now) and running.process:
                running.process.kill()
        self.fleet.contain(now)
        self.fleet.standby.mind(
            self._scheduler.models.values(), self._scheduler.beside_sleepers().get("cpu", 0), now
        )

    async def _remember(self) -> None:
        self.history.note(self.snapshot(), self._ledger.tokens)

    # --- smaller steps ----------------------------------------------------------------------------

    def _do(self, effects: list[Effect]) -> None:
        carry_out(effects, self)

    def _finish(self, request: Request, error: HubError) -> None:
        self._requests.pop(request.id, None)
        self._ledger.failed(request, error.code)
        if not request.cancelled:
            request.client.finish(request.failure(error))
        request.log_end(as_failure(error), time.monotonic())

    def _hang_up(self, request: Request) -> None:
        del self._requests[request.id]
        request.client.abort()
        ended = NodeUnavailable("the node is shutting down")
        request.log_end(as_failure(ended), time.monotonic())

    def _take_unbegun(self, running: Running) -> list[Request]:
        """Take out who got nothing yet: asking the next engine harms nobody, once."""
        unbegun = {n: r for n, r in running.streams.items() if r.may_ask_again}
        for number, request in unbegun.items():
            del running.streams[number]
            request.ask_again()
        return [*unbegun.values()]

    def _fail_streams(self, running: Running, error: HubError) -> None:
        streams, running.streams = running.streams, {}
        for request in streams.values():
            self._finish(request, error)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task of the node failed", exc_info=error)
