"""One engine instance as the pool sees it: its process, the streams in it, whether it still lives."""

import itertools
import logging
import math
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec

from inference import wire
from inference.errors import Conflict, HubError
from inference.node.effects import Effect, Start
from inference.node.life import ABSENT_S, Life, LoadLife, activity
from inference.node.process import EngineProcess
from inference.node.scheduler import Scheduler

log = logging.getLogger(__name__)


class Client(Protocol):
    """Whoever asked. `forward` gives False when it does not read what it is sent."""

    def send(self, message: wire.Any) -> None: ...
    def forward(self, frame: wire.Frame) -> bool: ...
    def finish(self, message: wire.Any) -> None: ...
    def abort(self) -> None: ...


@dataclass(slots=True, eq=False)
class Request:
    """One question from its arrival to its last frame, in an engine or not yet."""

    id: int
    client: Client
    question: wire.Submit | wire.Load
    since: float
    granted_at: float = 0.0
    first_at: float = 0.0
    load_s: float = 0.0
    running: "Running | None" = None
    stream: int = 0
    cancelled: bool = False
    told: bool = False  # that it waits
    repeated: bool = False  # asked twice, here or before it came

    @property
    def may_ask_again(self) -> bool:
        return not (self.first_at or self.repeated or self.cancelled)

    def failure(self, error: HubError) -> wire.Failure:
        """Say how it ended; only who asked knows whether a part of the answer was passed on."""
        may_repeat = error.may_repeat and not self.repeated
        return msgspec.structs.replace(as_failure(error), may_repeat=may_repeat)

    def ask_again(self) -> None:
        """Wait once more, after the engine ended before it said a word."""
        self.running, self.stream, self.repeated = None, 0, True
        self.granted_at = 0.0

    def log_end(self, message: wire.Done | wire.Failure, now: float) -> None:
        """One line for each request; what was asked and answered is nobody's business here."""
        how = "cancelled" if self.cancelled else "served"
        if isinstance(message, wire.Failure):
            how = message.code
        tags = {"request_id": self.tag, "model": self.adapter or self.name}
        log.info("%s: %s after %.3f s", self.name, how, now - self.since, extra=tags)

    @property
    def name(self) -> str:
        return self.question.spec.name

    @property
    def adapter(self) -> str:
        """Name the adapter that it asks for; empty: none."""
        body = self.question.body if isinstance(self.question, wire.Submit) else None
        asked = body.adapter if isinstance(body, wire.Generate) else None
        return asked.name if asked else ""

    @property
    def tag(self) -> str:
        return self.question.request_id if isinstance(self.question, wire.Submit) else ""

    def timing(self, engine: wire.Timing, now: float) -> wire.Timing:
        """Add the node's part; measure here what the engine did not."""
        first_at = self.first_at or now
        return wire.Timing(
            queue_s=self.granted_at - self.since,
            load_s=self.load_s,
            first_s=engine.first_s or first_at - self.granted_at,
            total_s=engine.total_s or now - self.granted_at,
        )


class Unloaders:
    """Who asked for an unload, and waits for all engines of the model to end."""

    def __init__(self) -> None:
        self._waiting: list[tuple[frozenset[int], Client]] = []

    def ask(self, client: Client, question: wire.Unload, scheduler: Scheduler) -> list[Effect]:
        """Let a model leave; whoever asked hears a refusal at once."""
        model = scheduler.models.get(question.model)
        leaving = frozenset(scheduler.held_by(model)) if model else frozenset()
        try:
            out = scheduler.on_unload(question.model, time.monotonic(), force=question.force)
        except Conflict as error:
            client.finish(as_failure(error))
            return []
        self._waiting.append((leaving, client))
        return out

    def tell(self, there: Collection[int]) -> None:
        """Answer those whose engines are none of these any more."""
        ended = [one for one in self._waiting if one[0].isdisjoint(there)]
        self._waiting = [one for one in self._waiting if one not in ended]
        for _, client in ended:
            client.finish(wire.Done())


class Events(Protocol):
    """What the pool wants to hear of an instance."""

    def on_loaded(self, running: "Running", loaded: wire.Loaded) -> None: ...
    def on_load_failed(self, running: "Running", failure: wire.Failure) -> None: ...
    def on_asleep(self, running: "Running") -> None: ...
    def on_load_progress(self, running: "Running", progress: wire.LoadProgress) -> None: ...
    def on_stats(self, running: "Running", stats: wire.Stats) -> None: ...
    def on_part(self, request: Request, frame: wire.Frame) -> None: ...
    def on_end(self, request: Request, message: wire.Done | wire.Failure) -> None: ...
    def on_exit(self, running: "Running") -> None: ...


@dataclass(slots=True, eq=False)
class Running:
    """Invariant: `streams` holds every request that was sent to the engine and is not answered."""

    order: Start
    events: Events
    process: EngineProcess | None = None
    streams: dict[int, Request] = field(default_factory=dict)
    stopping: bool = False
    loaded: wire.Loaded | None = None
    life: Life = field(default_factory=Life)
    hung: bool = False
    given_bytes: int = 0  # of main memory
    worked: wire.Worked = field(default_factory=wire.Worked)
    overrun_bytes: int = 0  # what it held when it was ended for passing its limit
    most_is_true: bool = False  # the kernel's own record of its most memory began after the load
    _loading: LoadLife | None = None
    _checked_at: float = math.inf
    _steps: int = 0
    _probe: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def id(self) -> int:
        return self.order.instance

    @property
    def name(self) -> str:
        return self.order.spec.name

    def adopt(self, process: EngineProcess, start: wire.Start | wire.Wake) -> None:
        """Make this process the instance's own and tell it what to load, or that its sleep ends."""
        self.process, process.listener, process.tag = process, self, self.name
        process.send(start)
        self._checked_at = time.monotonic()
        self._loading = LoadLife(self._checked_at)

    def doze(self) -> None:
        """Nothing runs in it; `on_asleep` or `on_load_failed` follows, or its end."""
        if self.process:
            self.process.send(wire.Sleep())

    def run(self, request: Request, body: wire.Body) -> bool:
        """Give False if there is nobody to send it to."""
        if self.process is None or not self.process.alive or self.stopping:
            return False
        if not self.streams:
            self.life.progressed(time.monotonic())
        request.running, request.stream = self, next(self._numbers)
        self.streams[request.stream] = request
        self.process.send(wire.Run(body=body), request.stream)
        return True

    def cancel(self, request: Request) -> None:
        if self.process:
            self.process.send(wire.Cancel(), request.stream)

    def check_life(self, hang_s: float, now: float) -> bool:
        """Probe an engine that gets on with nothing; give False where it must be ended."""
        if self.process is None or self.stopping:
            return True
        self._excuse(now)
        look = partial(activity, self.process.pid)
        if self._loading is not None:
            return self._lives_on("frozen" if self._loading.is_frozen(hang_s, now, look) else "")
        if not self.streams:
            return True
        if not self._probe and now - self.life.progress_at >= hang_s:
            self._probe = next(self._numbers)
            self.process.send(wire.Run(body=wire.Probe()), self._probe)
        return self._lives_on(self.life.verdict(hang_s, now, look))

    def _excuse(self, now: float) -> None:
        """A machine that was paused, or a node that was stopped, is no fault of the engine's."""
        gap_s, self._checked_at = now - self._checked_at, now
        if gap_s >= ABSENT_S:
            self.life.excuse(gap_s, now)
            if self._loading is not None:
                self._loading.excuse(gap_s, now)

    def _lives_on(self, wrong: str) -> bool:
        if wrong and not self.hung:
            self.hung = True
            log.error("the engine of %s is %s", self.name, wrong, extra={"model": self.name})
        return not wrong

    # --- process.Listener -----------------------------------------------------------------------

    def on_frame(self, process: EngineProcess, frame: wire.Frame) -> None:
        del process
        if frame.stream == 0:
            self._heard(time.monotonic())
            self._on_control(frame.decode())
            return
        self.life.progressed(time.monotonic())
        request = self.streams.get(frame.stream)
        if frame.kind in wire.TERMINAL:
            self._on_last(request, frame)
        elif request and not request.cancelled:
            self.events.on_part(request, frame)

    def on_exit(self, process: EngineProcess) -> None:
        del process
        self.events.on_exit(self)

    def _on_last(self, request: Request | None, frame: wire.Frame) -> None:
        if frame.stream == self._probe:
            self._probe = 0
        if request is None:
            return
        del self.streams[frame.stream]
        message = frame.decode()
        assert isinstance(message, wire.Done | wire.Failure)  # noqa: S101  by the frame's kind
        self.events.on_end(request, message)

    def _heard(self, now: float) -> None:
        self.life.spoke(now)
        if self._loading is not None:
            self._loading.spoke(now)

    def _on_control(self, message: wire.Any) -> None:
        if isinstance(message, wire.Stats):
            if message.steps_total + message.prompt_tokens_total != self._steps:
                self._steps = message.steps_total + message.prompt_tokens_total
                self.life.progressed(time.monotonic())
            self.worked = message.worked
            self.events.on_stats(self, message)
        elif isinstance(message, wire.LoadProgress):
            self.events.on_load_progress(self, message)
        elif isinstance(message, wire.Loaded):
            self.loaded, self._loading = message, None
            self.events.on_loaded(self, message)
        elif isinstance(message, wire.Asleep):
            self.events.on_asleep(self)
        elif isinstance(message, wire.Failure):
            self.events.on_load_failed(self, message)


def as_failure(error: HubError) -> wire.Failure:
    return wire.Failure(
        code=error.code,
        message=error.message,
        param=error.param,
        retry_after_s=error.retry_after_s,
        details=error.details,
    )
