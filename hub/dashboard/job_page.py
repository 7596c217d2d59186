"""What the pages of trainings show: a job with its curves, samples, checkpoints and reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
from django.db.models import Q
from django.db.models.functions import Mod
from django.utils.translation import gettext as _

from accounts.principals import Principal
from hub.dashboard import build_states, build_words, units
from hub.dashboard.states import State
from inference import aliases, sight
from inference.models import Alias
from training import contract, jobs, retention, trackers
from training.attempts import LOG
from training.models import Attempt, Checkpoint, Export, Job, JobEvent
from training.recipes import shapes

POINTS = 400  # of a curve; more are thinned out
SHOWN_STEPS, SHOWN_EVENTS, SHOWN_SAMPLES = 60, 60, 12
LOG_BYTES, LOG_LINES = 32_768, 80
CURVES = ("train_loss", "valid_loss", "learning_rate", "tokens_per_s", "memory_bytes")
State_ = Job.State
PAUSABLE = frozenset({State_.QUEUED, State_.STARTING, State_.RUNNING})
STOPPABLE = frozenset({State_.STARTING, State_.RUNNING})


@dataclass(frozen=True, slots=True)
class Point:
    """What was told at one step; a figure that was not is None."""

    at: float
    step: int
    train_loss: float | None = None
    valid_loss: float | None = None
    learning_rate: float | None = None
    tokens_per_s: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    step: int
    prompt: str
    base: str
    answer: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the recipe, with why it is so."""

    name: str
    value: str
    reason: str


class JobPage:
    """One job for whoever looks."""

    def __init__(self, job: Job, who: Principal) -> None:
        self.row, self._who = job, who

    @property
    def state(self) -> State:
        return build_states.of_job(self.row)

    @property
    def may_change(self) -> bool:
        return self.row.team_id is not None and self._who.allows_in(jobs.SCOPE, self.row.team_id)

    @property
    def acts(self) -> frozenset[str]:
        """What can be done to it now, by whoever holds the right."""
        state, names = State_(self.row.state), set()
        if state in PAUSABLE:
            names.add("pause")
        if state == State_.PAUSED:
            names.add("resume")
        if state in STOPPABLE and not self.row.wish:
            names.add("stop")
        if state in jobs.CANCELLABLE:
            names.add("cancel")
        if state in retention.REMOVABLE:
            names.add("remove")
        return frozenset(names) if self.may_change else frozenset()

    @property
    def headline(self) -> str:
        """Answer in a sentence why a person came."""
        row = self.row
        told = {
            State_.SUCCEEDED: _("It is done, and answers by its name."),
            State_.FAILED: _("It failed at step %(step)s.") % {"step": row.step},
            State_.CANCELLED: _("It was cancelled at step %(step)s.") % {"step": row.step},
            State_.PAUSED: _("It is paused at step %(step)s.") % {"step": row.step},
            State_.QUEUED: _("It waits for its turn."),
            State_.VALIDATING: _("It waits until its data is checked."),
            State_.DRAFT: _("It is a draft: nothing has begun."),
            State_.STARTING: _("It is being prepared: data, model, one step to measure."),
            State_.EVALUATING: _("The last step is done; the result is being evaluated."),
            State_.REGISTERING: _("The result is being registered."),
        }
        return told.get(State_(row.state), "") or self._running()

    def _running(self) -> str:
        row = self.row
        words = {"step": units.count(row.step), "steps": units.count(row.steps)}
        if row.eta_s is None:
            return _("Step %(step)s of %(steps)s.") % words
        time = units.duration(row.eta_s)
        return _("Step %(step)s of %(steps)s, about %(time)s left.") % {**words, "time": time}

    # --- curves -----------------------------------------------------------------------------------

    @cached_property
    def points(self) -> list[Point]:
        """Thin the steps out, keep every evaluation; by time."""
        metrics = self.row.events.filter(type="metrics")
        every = max(1, metrics.count() // POINTS)
        thin = metrics.annotate(place=Mod("seq", every)).filter(place=0) if every > 1 else metrics
        found = [*thin.order_by("seq"), *self.row.events.filter(type="evaluation")]
        found += [last] if (last := metrics.last()) and every > 1 else []
        points: dict[int, Point] = {}
        for event in sorted(found, key=lambda one: one.seq):
            _join(points, _point(event))
        return [*points.values()]

    @cached_property
    def series_json(self) -> str:
        columns: dict[str, list[float | None]] = {"at": [point.at for point in self.points]}
        for name in CURVES:
            columns[name] = [getattr(point, name) for point in self.points]
        columns["memory_gb"] = [_giga(value) for value in columns.pop("memory_bytes")]
        return msgspec.json.encode(columns).decode()

    @property
    def newest(self) -> list[Point]:
        return self.points[: -SHOWN_STEPS - 1 : -1]

    def last_of(self, name: str) -> float | None:
        found = (getattr(point, name) for point in reversed(self.points))
        return next((value for value in found if value is not None), None)

    @property
    def train_loss(self) -> float | None:
        return self.last_of("train_loss")

    @property
    def valid_loss(self) -> float | None:
        return self.last_of("valid_loss")

    @property
    def tokens_per_s(self) -> float | None:
        return self.last_of("tokens_per_s")

    # --- what happened ----------------------------------------------------------------------------

    @cached_property
    def samples(self) -> list[Sample]:
        """The newest first, beside what the base says."""
        events = self.row.events.filter(type="sample").order_by("-seq")[:SHOWN_SAMPLES]
        return [_sample(event) for event in events]

    @cached_property
    def events(self) -> Sequence[JobEvent]:
        others = self.row.events.exclude(type__in=("metrics", "sample"))
        return [*others.order_by("-seq")[:SHOWN_EVENTS]]

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        return [*self.row.checkpoints.all()]

    @cached_property
    def attempts(self) -> list[Attempt]:
        return [*self.row.attempts.order_by("-number")]

    @cached_property
    def plan(self) -> dict[str, Any] | None:
        """What preflight measured by one real step."""
        event = self.row.events.filter(type="plan").last()
        return event.data if event else None

    @property
    def deviation_percent(self) -> int | None:
        """By how much the measured peak differs from the estimate."""
        peak_bytes = (self.plan or {}).get("peak_bytes", 0)
        return units.deviation_percent(peak_bytes, self.estimate_bytes)

    @property
    def estimate_bytes(self) -> int:
        return sum((self.plan or {}).get("estimate", {}).values())

    @cached_property
    def exports(self) -> list[Export]:
        return [*self.row.made.all()]

    @property
    def is_exporting(self) -> bool:
        return any(one.state in {"waiting", "running"} for one in self.exports)

    @property
    def mlflow(self) -> str:
        """Where its run is shown, for those who may look."""
        return trackers.address(self.row) if self.row.mlflow_run else ""

    @property
    def log(self) -> list[str]:
        """The last lines that its process wrote, for those who may change the job."""
        if not self.may_change:
            return []
        try:
            with (self.row.folder() / LOG).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - LOG_BYTES))
                text = file.read(LOG_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.replace("\r", "\n").splitlines()[-LOG_LINES:]

    # --- what it was made of, and what came of it -------------------------------------------------

    @property
    def settings(self) -> list[Setting]:
        given = asked_for(self.row.config)
        usual = {True: _("as it was asked for"), False: _("the usual value")}
        why = self.row.reasons
        return [
            Setting(
                name, shown(value), build_words.reason(why.get(name, "")) or usual[name in given]
            )
            for name, value in (self.row.recipe or {}).items()
        ]

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """What was measured after the last step; empty where nothing was."""
        return contract.read_evaluation(self.row.folder())

    @property
    def is_evaluated(self) -> bool:
        return (self.row.folder() / contract.EVALUATION).exists()

    @cached_property
    def model(self) -> str:
        """The result's name, where it is there for whoever looks."""
        name = self.row.fine_tuned_model
        return name if name and sight.models(self._who).filter(name=name).exists() else ""

    @cached_property
    def has_base(self) -> bool:
        return sight.models(self._who).filter(name=self.row.base).exists()

    @cached_property
    def sees_data(self) -> bool:
        return self._who.sees(*self.row.version.data_set.ownership)

    @cached_property
    def aliases(self) -> list[str]:
        """Names and routes that lead to the result, be it with a share of their requests."""
        name = self.row.fine_tuned_model
        leads = Q(target__name=name) | ~Q(targets=[])
        rows = sight.aliases(self._who).filter(leads).select_related("target")
        return [alias.name for alias in rows.order_by("name") if name and _leads_to(alias, name)]


def _leads_to(alias: Alias, model: str) -> bool:
    return any(target["model"] == model for target in aliases.shown_targets(alias))


def _point(event: JobEvent) -> Point:
    known = {name: event.data[name] for name in CURVES if event.data.get(name) is not None}
    return Point(at=event.at.timestamp(), step=int(event.data.get("step", 0)), **known)


def _join(points: dict[int, Point], point: Point) -> None:
    """An evaluation is told after its step, and belongs to it."""
    known = points.get(point.step)
    if known is not None and point.valid_loss is not None:
        point = replace(known, valid_loss=point.valid_loss)
    points[point.step] = point


def _giga(value: float | None) -> float | None:
    return None if value is None else round(value / 1e9, 4)


def _sample(event: JobEvent) -> Sample:
    data = event.data
    return Sample(
        step=int(data.get("step", 0)),
        prompt=str(data.get("prompt", "")),
        base=str(data.get("base", "")),
        answer=event.message,
    )


def asked_for(config: Mapping[str, Any]) -> set[str]:
    """Give the fields of a recipe that a config names, flat or in sections."""
    names: set[str] = set()
    for name, value in config.items():
        inner = asked_for(value) if isinstance(value, dict) else {shapes.SYNONYMS.get(name, name)}
        names |= inner if value not in (None, shapes.AUTO) else set()
    return names


def shown(value: Any) -> str:
    """Write a value of a recipe as people read it."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _("all linear layers")
    return f"{value:g}" if isinstance(value, float) else str(value)
