"""What is done to training jobs: submitted, paused, resumed, stopped, cancelled. The row is the truth.

`supervising` looks at the rows again and again; nothing here starts a process.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import audit
from accounts.models import Visibility, default_team_id
from accounts.principals import Principal
from inference.errors import (
    Conflict,
    HubError,
    InvalidValue,
    NotFound,
    PermissionDenied,
)
from training import bases, claims, lengths, minutes, resolving, sets, states
from training.after import After, refuse_other_guard
from training.datasets.report import Counted
from training.models import DataSetVersion, Job, Jobs
from training.recipes import facts, shapes

SCOPE = "training:write"
SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
State = Job.State
CANCELLABLE = (Job.OPEN | {State.PAUSED, State.DRAFT}) - {State.REGISTERING}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to train; `config` as `recipes.shapes` reads it, named `where` in errors."""

    base: str
    training_type: str
    version: DataSetVersion
    config: Mapping[str, Any] = field(default_factory=dict)
    where: str = "training_config"
    suffix: str = ""
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_preemptible: bool = True
    after: After = field(default_factory=After)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was wanted, with the base's own name and folder, and what was read."""

    wanted: Wanted
    base: str
    folder: Path
    asked: shapes.Asked


def submit(wanted: Wanted, who: Principal, *, draft: bool = False) -> Job:
    """Make the row of a job that waits for its data to be checked; a draft waits for `begin`.

    Raises: ModelNotFound, InvalidValue, UnknownParameter, PermissionDenied, RateLimited, DiskFull.
    """
    team = who.team_id or default_team_id()
    if not who.allows_in(SCOPE, team):
        raise PermissionDenied(f"This needs the scope {SCOPE} in the team that trains.")
    checked = check(wanted, who)
    resolving.refuse_too_large(_found(checked), wanted.where)
    return _row(checked, who, team, State.DRAFT if draft else State.VALIDATING)


def check(wanted: Wanted, who: Principal) -> Checked:
    """Read what was wanted. Raises: ModelNotFound, InvalidValue, UnknownParameter."""
    if wanted.suffix and not SUFFIX.fullmatch(wanted.suffix):
        raise InvalidValue("A suffix has 1 to 64 letters, digits and . _ -", param="suffix")
    base, folder = bases.find(wanted.base, who)
    asked = shapes.read(wanted.training_type, wanted.config, wanted.where)
    _refuse_bad_data(wanted.version)
    _refuse_other_format(asked, wanted.version)
    refuse_other_guard(wanted.after.guard, wanted.version)
    return Checked(wanted, base, folder, asked)


def _found(checked: Checked) -> resolving.Found:
    """Resolve with the data, or while it is being checked with next to none. Raises: InvalidValue."""
    wanted, machine = checked.wanted, resolving.machine_now()
    if wanted.version.is_over:
        known = (checked.folder, wanted.version, machine, wanted.where)
        return resolving.of_version(checked.asked, *known)
    return resolving.at_least(checked.asked, checked.folder, machine, wanted.where)


def seed_of(checked: Checked) -> int:
    """Take the request's, the config's, the hub's, or draw one: it is kept with the job."""
    given = (checked.wanted.seed, checked.asked.seed, settings.HUB_CONFIG.training_config.seed)
    drawn = random.randrange(shapes.MAX_SEED)  # noqa: S311  makes runs differ, guards nothing
    return next((seed for seed in given if seed is not None), drawn)


def _refuse_bad_data(version: DataSetVersion) -> None:
    """Raises: InvalidValue."""
    if version.is_over and version.state != DataSetVersion.State.READY:
        reason = version.findings_text() or f"It is {version.state}."
        raise InvalidValue(f"The data cannot be trained on: {reason}", param="training_file")


def _refuse_other_format(asked: shapes.Asked, version: DataSetVersion) -> None:
    """Pairs are for DPO, and nothing else is; what is not checked yet has no format. Raises: InvalidValue."""
    is_dpo, is_pairs = asked.training_type == "dpo", version.format == "preference"
    if version.format and is_dpo != is_pairs:
        pairs = "pairs of a chosen and a rejected answer"
        words = (
            f"The method dpo learns from {pairs}; the data has the format {version.format}."
            if is_dpo
            else f"The data has {pairs} (preference), which only the method dpo learns from; this"
            f" one is {asked.training_type}."
        )
        raise InvalidValue(words, param="training_file")


def _row(checked: Checked, who: Principal, team: int, state: State) -> Job:
    wanted = checked.wanted
    with transaction.atomic():
        job = Job.objects.create(
            owner_id=who.user_id,
            team_id=team,
            visibility=Visibility.TEAM,
            base=checked.base,
            version=wanted.version,
            training_type=checked.asked.training_type,
            config=dict(wanted.config),
            suffix=wanted.suffix,
            seed=seed_of(checked),
            metadata=dict(wanted.metadata),
            is_preemptible=wanted.is_preemptible,
            state=state,
            **wanted.after.fields(),
        )
        if state != State.DRAFT:
            minutes.book(job)
        states.tell(job, "message", f"Created fine-tuning job: {job.pk}")
        names = ("base", "training_type", "version_id")
        after = {name: getattr(job, name) for name in names} | {"state": str(state)}
        audit.record("job.submit", "job", job.pk, pk=job.pk, after=after)
    job.refresh_from_db()
    return job


def begin(job: Job, who: Principal) -> Job:
    """Let a draft wait for its turn. Raises: PermissionDenied, Conflict, RateLimited."""
    check_held(job, who)
    with transaction.atomic():
        if not states.move(job, {State.DRAFT}, State.VALIDATING):
            raise Conflict(states.refusal(job, "only a draft is submitted."))
        minutes.book(job)
    return job


def prepare(job: Job) -> None:
    """Go on with a job whose data has been checked: resolve its recipe, or give up with the reason.

    Raises: NodeUnavailable, where nobody can say how much memory there is.
    """
    if not job.version.is_over:
        return
    machine = claims.machine()
    try:
        _refuse_bad_data(job.version)
        _refuse_other_format(shapes.read(job.training_type, job.config), job.version)
        refuse_other_guard(job.guard, job.version)
        found = _resolved(job, machine)
        resolving.refuse_too_large(found)
        counted = _counted(job, found)
    except (HubError, OSError, ValueError) as error:
        told = error if isinstance(error, HubError) else _unread(error)
        fields = {"error_code": told.code, "error_message": told.sentence}
        states.move(job, {State.VALIDATING}, State.FAILED, **fields)
        return
    if counted is None:
        Job.objects.filter(pk=job.pk, state=State.VALIDATING).update(reason=lengths.COUNTING)
        return
    fields_now = {
        "recipe": msgspec.to_builtins(found.resolved.recipe),
        "reasons": found.resolved.reasons,
        "steps": found.resolved.steps,
        "estimate_bytes": found.need.total,
        "limit_bytes": machine.memory_bytes or 0,
        "reason": "",
    }
    with transaction.atomic():
        if states.move(job, {State.VALIDATING}, State.QUEUED, **fields_now):
            lengths.tell(job, counted, found.resolved.recipe.max_length)


def _counted(job: Job, found: resolving.Found) -> Counted | None:
    """Give how many rows are too long, or None while that is counted. Raises: InvalidValue, ModelNotFound."""
    about = (job.version, bases.find(job.base)[1], found.resolved.recipe.max_length)
    counted = lengths.known(*about)
    if counted is None:
        lengths.ask(*about)
    return counted


def _unread(error: OSError | ValueError) -> HubError:
    """Say so without the path."""
    why = error.strerror if isinstance(error, OSError) else error
    return InvalidValue(f"What was kept of its data cannot be read: {why}.")


def _resolved(job: Job, machine: facts.Machine) -> resolving.Found:
    """Raises: InvalidValue, ModelNotFound."""
    asked = shapes.read(job.training_type, job.config)
    return resolving.of_version(asked, bases.find(job.base)[1], job.version, machine)


# --- reads ----------------------------------------------------------------------------------------


def find(job_id: str, who: Principal) -> Job:
    """Raises: NotFound, also for what they may not see."""
    rows = Job.objects.visible_to(who).select_related("version", "team")
    found = rows.filter(pk=job_id[:64]).first()
    if found is None:
        raise NotFound(f"There is no fine-tuning job `{job_id[:64]}`, or it is not yours.")
    return found


def page(
    who: Principal, after: str, limit: int, selects: Callable[[dict[str, str]], bool] | None = None
) -> tuple[Sequence[Job], bool]:
    """Give some jobs, newest first, and whether there are more. Raises: NotFound.

    `selects` is asked about a job's metadata.
    """
    rows: Jobs = Job.objects.visible_to(who).select_related("version", "team")
    if after:
        last = find(after, who)
        older = Q(created_at__lt=last.created_at)
        rows = rows.filter(older | Q(created_at=last.created_at, pk__lt=last.pk))
    rows = rows.order_by("-created_at", "-id")
    chosen = rows if selects is None else (row for row in rows.iterator() if selects(row.metadata))
    found = list(islice(chosen, limit + 1))
    return found[:limit], len(found) > limit


# --- changes --------------------------------------------------------------------------------------


def cancel(job: Job, who: Principal) -> Job:
    """End it for good; its process is ended by the supervisor. Raises: PermissionDenied, Conflict."""
    check_held(job, who)
    if not states.move(job, CANCELLABLE, State.CANCELLED):
        is_late = job.state == State.REGISTERING
        late = "it becomes a model now; remove that model once the job has succeeded."
        raise Conflict(states.refusal(job, late if is_late else "there is nothing to cancel."))
    return job


def pause(job: Job, who: Principal) -> Job:
    """Stop after the step at hand, to be resumed exactly. Raises: PermissionDenied, Conflict."""
    check_held(job, who)
    if states.move(job, {State.QUEUED}, State.PAUSED, reason="It was paused by a person."):
        return job
    if not states.move(job, {State.STARTING, State.RUNNING}, State.PAUSING, wish="pause"):
        raise Conflict(states.refusal(job, "it cannot be paused now."))
    return job


def resume(job: Job, who: Principal) -> Job:
    """Go on from the newest checkpoint. Raises: PermissionDenied, Conflict, RateLimited."""
    check_held(job, who)
    fresh = {"reason": "", "wish": "", "deaths": 0, "error_code": ""}
    with transaction.atomic():
        if not states.move(job, {State.PAUSED}, State.QUEUED, **fresh):
            raise Conflict(states.refusal(job, "only a paused one is resumed."))
        minutes.book(job)
    return job


def stop(job: Job, who: Principal) -> Job:
    """End after the step at hand, and register what there is. Raises: PermissionDenied, Conflict."""
    check_held(job, who)
    with transaction.atomic():
        rows = Job.objects.filter(pk=job.pk, state__in={State.STARTING, State.RUNNING})
        if not rows.update(wish="stop"):
            raise Conflict(states.refusal(job, "only a running one is stopped."))
        states.tell(job, "message", "The job was asked to stop and register.")
        audit.record("job.stop", "job", job.pk, pk=job.pk)
    job.refresh_from_db()
    return job


def check_held(job: Job, who: Principal) -> None:
    """Raises: PermissionDenied."""
    if job.team_id is None or not who.allows_in(SCOPE, job.team_id):
        raise PermissionDenied("This job is another team's: you may follow it, but not change it.")


def keeps(version: DataSetVersion) -> str:
    """Say which job still needs a version of a data set, or ""."""
    job = Job.objects.filter(Q(version=version) | Q(guard=version)).first()
    return "" if job is None else f"The job {job.pk} was trained on it, or is measured by it."


sets.USERS.append(keeps)
