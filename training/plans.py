"""What a training would be, before it starts: memory and who would leave for it, time, disk, what else fits.

Called by the API and by pages. Nothing is reserved: the node is only asked.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from accounts.principals import Principal
from inference import catalog, veil, wire
from inference.errors import Conflict, NodeUnavailable
from training import claims, jobs, rates, resolving, states
from training.models import Job, JobEvent
from training.recipes import work
from training.recipes.recipe import Recipe

FIGURES = ("device", "needed_bytes", "free_bytes", "limit_bytes")
NO_FIGURE = "nothing was trained on this base before, and this machine is being measured: ask again in a minute"
BY_RATE = (
    "by the parameters and the {rate:.0f} GFLOP/s at which a small model was trained on this machine;"
    " the first step measures it"
)


@dataclass(frozen=True, slots=True)
class Time:
    """How long it will compute, and how that is known: from a `job`, or the `machine`'s rate."""

    seconds: float | None
    source: Literal["job", "machine", "none"]
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`planned` is the node's word, without names that are not there for who asked."""

    found: resolving.Found
    seed: int
    planned: wire.Planned | None
    tokens: int  # computed over all epochs
    time: Time
    disk_free_bytes: int
    changes: list[dict[str, Any]]  # of the recipe, with which it would fit

    @property
    def fits(self) -> bool:
        return self.found.fits and self.found.disk_bytes <= self.disk_free_bytes


def of(wanted: jobs.Wanted, who: Principal) -> Plan:
    """Raises: ModelNotFound, InvalidValue, UnknownParameter, Conflict, HubError of the node."""
    if not wanted.version.is_over:
        words = "The data is still being checked: ask again once its state is ready."
        raise Conflict(words, param="dataset")
    checked = jobs.check(wanted, who)
    machine = resolving.machine_now()
    found = resolving.of_version(
        checked.asked, checked.folder, wanted.version, machine, wanted.where
    )
    tokens = _tokens(found)
    return Plan(
        found=found,
        seed=jobs.seed_of(checked),
        planned=_planned(found, wanted.is_preemptible, who),
        tokens=tokens,
        time=_time(checked, found, tokens, who),
        disk_free_bytes=resolving.free_disk(),
        changes=[] if found.fits else found.changes(),
    )


def of_job(job: Job, who: Principal) -> Plan:
    """Plan what a job that has not begun will be. Raises: as `of`."""
    if job.attempts.exists() or job.is_over:
        raise Conflict(states.refusal(job, "it has been planned and begun."))
    wanted = jobs.Wanted(
        base=job.base,
        training_type=job.training_type,
        version=job.version,
        config=job.config,
        suffix=job.suffix,
        seed=job.seed,
        is_preemptible=job.is_preemptible,
    )
    return of(wanted, who)


def _planned(found: resolving.Found, is_preemptible: bool, who: Principal) -> wire.Planned | None:
    try:
        planned = claims.ask(found.need.total, is_preemptible=is_preemptible)
    except NodeUnavailable:
        return None
    names = {victim.name for victim in planned.victims if not victim.is_training}
    return veil.veiled(planned, catalog.hidden_among(names, who))


def _tokens(found: resolving.Found) -> int:
    """Each row once an epoch, or as many batches as steps were asked for."""
    recipe = found.resolved.recipe
    seen = recipe.batch_size * recipe.gradient_accumulation * found.resolved.steps
    mean = found.rows.tokens / max(found.rows.rows, 1)
    return int(mean * (seen if recipe.max_steps else found.rows.rows * recipe.epochs))


def _time(checked: jobs.Checked, found: resolving.Found, tokens: int, who: Principal) -> Time:
    """Go by the last job of the same kind that they see, or else by what is to be computed."""
    alike = {"base": checked.base, "training_type": checked.asked.training_type}
    seen = Job.objects.visible_to(who).filter(**alike)
    last = JobEvent.objects.filter(type="metrics", job__in=seen).order_by("-at").first()
    rate = float(last.data.get("tokens_per_s") or 0) if last else 0.0
    if last is None or rate <= 0:
        return _by_rate(found, tokens)
    reason = f"as job {last.job_id} computed {rate:.0f} tokens/s"
    return Time(round(tokens / rate, 1), "job", reason)


def _by_rate(found: resolving.Found, tokens: int) -> Time:
    """Go by what the machine was measured to compute; where it never was, have it measured."""
    recipe = found.resolved.recipe
    rate = rates.known(recipe.precision)
    if rate is None:
        rates.ask()
        return Time(None, "none", NO_FIGURE)
    wanted = work.operations(found.base, recipe, found.rows, tokens)
    return Time(round(wanted / rate, 1), "machine", BY_RATE.format(rate=rate / 1e9))


def shown(plan: Plan) -> dict[str, Any]:
    """Give it as the API does."""
    planned = plan.planned
    recipe: Recipe = plan.found.resolved.recipe
    return {
        "fits": plan.fits,
        "verdict": planned.verdict if planned else "unknown",
        "reason": planned.reason if planned else claims.AWAY,
        "memory": {
            **{name: getattr(planned, name) if planned else None for name in FIGURES},
            "needed_bytes": plan.found.need.total,
            "parts": msgspec.to_builtins(plan.found.need),
        },
        "unloads": [msgspec.to_builtins(one) for one in planned.victims] if planned else [],
        "wait_s": planned.eta_s if planned else None,
        "steps": plan.found.resolved.steps,
        "tokens": plan.tokens,
        "seconds": plan.time.seconds,
        "seconds_source": plan.time.source,
        "seconds_reason": plan.time.reason,
        "disk": {"needed_bytes": plan.found.disk_bytes, "free_bytes": plan.disk_free_bytes},
        "recipe": msgspec.to_builtins(recipe),
        "reasons": plan.found.resolved.reasons,
        "seed": plan.seed,
        "changes": plan.changes,
    }
