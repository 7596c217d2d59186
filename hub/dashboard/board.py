"""Everything a panel may show at one tick, worked out once for all who watch."""

import hashlib
import shutil
from dataclasses import dataclass
from functools import cached_property

import msgspec
from django.conf import settings

from accounts.principals import Principal
from hub.config import ModelConfig
from hub.dashboard import job_concerns, memory, rows, states, units
from hub.dashboard.memory import DeviceMap
from hub.dashboard.rows import ModelRow
from hub.dashboard.states import State
from hub.dashboard.watcher import Tick
from inference import sight, wire

LOW_DISK_BYTES = 2_000_000_000
CROWDED = 8  # waiting requests of one model that want an operator's eye
SPARK_POINTS = 30  # a minute
MINUTE_S = 60.0
BUCKET_S = 30.0
SPARKS = ("tokens_per_s", "running", "used_bytes", "requests")


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that wants a decision; the template says it in words."""

    kind: str  # node, model, queue, damage, job_failed, job_stuck, disk
    subject: str = ""
    reason: str = ""
    number: int = 0
    row: ModelRow | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Half a minute of the past, for the table behind the chart."""

    at: float
    tokens_per_s: float
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Training:
    """Memory that a training has, or waits for."""

    told: wire.ReservationStatus
    title: str
    state: State


class Board:
    """Read the database once, then only work on what was read: what is there for whoever looks."""

    def __init__(self, tick: Tick, who: Principal) -> None:
        self.tick = tick
        self.snapshot = sight.snapshot(tick.snapshot, who)
        self.rows = rows.listing(self.snapshot, who)
        self.n_models = sight.models(who).count()
        self.disk = shutil.disk_usage(settings.HUB_DATA)
        self.job_concerns = job_concerns.of(who)

    @property
    def models(self) -> list[wire.ModelStatus]:
        return self.snapshot.models if self.snapshot else []

    @cached_property
    def devices(self) -> list[DeviceMap]:
        return memory.maps(self.snapshot) if self.snapshot else []

    @cached_property
    def loaded(self) -> list[ModelRow]:
        """Those that hold memory; attached adapters live in their base's."""
        return [row for row in self.rows if row.is_loaded and not row.model.is_attached]

    @cached_property
    def active(self) -> list[ModelRow]:
        """In the node or on its way; what could not be added is nobody's use, but a concern."""
        here = [row for row in self.rows if row.state.key != "cold" and not row.has_not_come]
        return [row for row in here if not row.model.is_attached or row.requests_total]

    @property
    def at_hand(self) -> list[ModelRow]:
        """Starters, whatever became of them, and what an operator added with success."""
        return [row for row in self.rows if row.model.source == "starter" or not row.has_not_come]

    @property
    def loading(self) -> list[ModelRow]:
        return [row for row in self.rows if row.state.key == "loading"]

    @property
    def used_bytes(self) -> int:
        return sum(device.used_bytes for device in self.devices)

    @property
    def limit_bytes(self) -> int:
        return sum(device.device.limit_bytes for device in self.devices)

    @property
    def running(self) -> int:
        return sum(model.running for model in self.models)

    @property
    def waiting(self) -> int:
        return sum(model.waiting for model in self.models)

    @property
    def tokens_per_s(self) -> float:
        """What the node counted last: a model's own rate is 0 as soon as its answer is complete."""
        return self.tick.points[-1].tokens_per_s if self.tick.points else 0.0

    @property
    def requests_total(self) -> int:
        return sum(model.requests_total for model in self.models)

    @property
    def failures_total(self) -> int:
        return sum(model.failures_total for model in self.models)

    @property
    def requests_last_minute(self) -> int:
        since = self.tick.at - MINUTE_S
        return sum(point.requests for point in self.tick.points if point.at > since)

    @property
    def tokens_per_s_average(self) -> float:
        """Mean over the kept minutes, busy moments only."""
        busy = [point.tokens_per_s for point in self.tick.points if point.tokens_per_s]
        return sum(busy) / len(busy) if busy else 0.0

    def spark(self, field: str) -> list[float]:
        return [float(getattr(point, field)) for point in self.tick.points[-SPARK_POINTS:]]

    @property
    def sparks(self) -> dict[str, list[float]]:
        return {name: self.spark(name) for name in SPARKS}

    @cached_property
    def series_json(self) -> str:
        """Columns for the chart, oldest first."""
        points = self.tick.points
        columns = {
            "at": [round(point.at, 1) for point in points],
            "tokens_per_s": [round(point.tokens_per_s, 1) for point in points],
            "running": [point.running for point in points],
            "waiting": [point.waiting for point in points],
        }
        return msgspec.json.encode(columns).decode()

    @cached_property
    def buckets(self) -> list[Bucket]:
        """Newest first."""
        grouped: dict[int, list[wire.Moment]] = {}
        for point in self.tick.points:
            grouped.setdefault(int(point.at // BUCKET_S), []).append(point)
        return [_bucket(number, grouped[number]) for number in sorted(grouped, reverse=True)]

    @cached_property
    def decisions(self) -> list[wire.Decision]:
        found = self.snapshot.decisions if self.snapshot else []
        return sorted(found, key=lambda decision: -decision.at)

    @property
    def queue(self) -> list[wire.Waiting]:
        return self.snapshot.queue if self.snapshot else []

    @property
    def trainings(self) -> list[Training]:
        """Those that have memory, then those that wait for it."""
        found = self.snapshot.reservations if self.snapshot else []
        return [Training(one, states.title(one), states.of_training(one)) for one in found]

    @property
    def pinned(self) -> list[str]:
        return [row.name for row in self.rows if row.model.settings.get("pinned")]

    @property
    def rules(self) -> ModelConfig:
        return settings.HUB_CONFIG.model_config

    @cached_property
    def pulse(self) -> str:
        """Change whenever a page about models would: whoever follows it asks for its part again."""
        lines = [self.n_models, *(_beat(row) for row in self.rows)]
        return hashlib.blake2b(repr(lines).encode(), digest_size=8).hexdigest()

    @cached_property
    def concerns(self) -> list[Concern]:
        of_jobs = [
            Concern(one.kind, one.job.pk, one.job.error_message, number=one.job.step)
            for one in self.job_concerns
        ]
        return [*self._node_concern(), *self._model_concerns(), *of_jobs, *self._disk_concern()]

    def _node_concern(self) -> list[Concern]:
        return [] if self.snapshot else [Concern("node", reason=self.tick.problem)]

    def _model_concerns(self) -> list[Concern]:
        failed = [
            Concern("model", row.name, row.state.reason, row=row)
            for row in self.rows
            if row.state.key == "failed"
        ]
        crowded = [
            Concern("queue", row.name, number=row.waiting, row=row)
            for row in self.rows
            if row.waiting >= CROWDED
        ]
        damaged = [
            Concern("damage", row.name, row.model.damage[0], row=row)
            for row in self.rows
            if row.model.damage
        ]
        return failed + crowded + damaged

    def _disk_concern(self) -> list[Concern]:
        free = self.disk.free
        return [Concern("disk", number=free)] if free < LOW_DISK_BYTES else []


def _beat(row: ModelRow) -> tuple[object, ...]:
    state, model = row.state, row.model
    memory = units.human_bytes(row.memory_bytes)
    now = (row.running, row.waiting, row.requests_total, memory, row.idle_sort // 60)
    return (model.pk, model.updated_at, state.key, state.percent, state.reason, model.state, *now)


def _bucket(number: int, points: list[wire.Moment]) -> Bucket:
    return Bucket(
        at=number * BUCKET_S,
        tokens_per_s=sum(point.tokens_per_s for point in points) / len(points),
        running=max(point.running for point in points),
        waiting=max(point.waiting for point in points),
    )
