"""A trained model takes an alias, all of its requests or a share; and leaves it again.

Called by the management API.
"""

import msgspec
from django.db import transaction

from accounts import audit
from accounts.models import Visibility
from accounts.principals import Principal
from inference import aliases, sight
from inference.errors import Conflict, NotFound, PermissionDenied
from inference.models import Alias, Model
from training import after, gate, jobs, stages
from training.models import Job

FORCE = "Say `force` to promote it all the same."
ALIASES = "models:write"  # of an alias that others use, too
Targets = list[dict[str, object]]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`percent` below 100 is a canary beside the targets of now."""

    alias: str
    percent: float = 100.0
    force: bool = False


def promote(job: Job, wanted: Wanted, who: Principal) -> Alias:
    """Raises: PermissionDenied, Conflict, InvalidValue."""
    jobs.check_held(job, who)
    _check_model(job)
    alias = _find(wanted.alias, job, who)
    if not wanted.force:
        _check_gate(job)
        _check_champion(job, alias)
    if alias is None and wanted.percent < 100:
        raise Conflict("There is no such alias whose requests could be shared.", param="percent")
    with transaction.atomic():
        if alias is None:
            alias = _made(job, wanted.alias)
        else:
            alias = aliases.change(alias, aliases.Wanted(targets=_shared(alias, job, wanted)))
        done = {"alias": alias.name, "percent": wanted.percent, "force": wanted.force}
        audit.record("job.promote", "job", job.pk, pk=job.pk, after=done)
    stages.follow_aliases()
    return alias


def roll_back(job: Job, name: str, who: Principal) -> Alias:
    """Take the job's model out of an alias; who answered before does again.

    Raises: PermissionDenied, NotFound, Conflict.
    """
    jobs.check_held(job, who)
    alias = _find(name, job, who)
    if alias is None:
        raise NotFound(f"There is no alias `{name}`, or it is not yours.", param="alias")
    shown = aliases.shown_targets(alias)
    if not any(target["model"] == job.fine_tuned_model for target in shown):
        raise Conflict(f"`{name}` does not lead to this job's model.", param="alias")
    left = _without(shown, job) or _without(alias.former, job)
    if not left:
        raise Conflict(f"Nothing else has answered for `{name}`.", param="alias")
    with transaction.atomic():
        alias = aliases.change(alias, aliases.Wanted(targets=left))
        audit.record("job.roll_back", "job", job.pk, pk=job.pk, after={"alias": name})
    stages.follow_aliases()
    return alias


def _check_model(job: Job) -> None:
    """Raises: Conflict."""
    name = job.fine_tuned_model
    if job.state != Job.State.SUCCEEDED or not Model.objects.filter(name=name).exists():
        raise Conflict(f"The job is {job.state}: it has no model that could be promoted.")


def _check_gate(job: Job) -> None:
    """Raises: Conflict."""
    verdict = msgspec.convert(job.verdict or {"outcome": "unmeasured"}, gate.Verdict)
    if verdict.outcome != "passed":
        raise Conflict(f"{verdict.sentence} {FORCE}", param="force")


def _check_champion(job: Job, alias: Alias | None) -> None:
    """A result is not to be worse than the trained model that answers now. Raises: Conflict."""
    champion = _champion(alias, job) if alias else None
    if alias is None or champion is None:
        return
    name, checks = champion.fine_tuned_model, after.beside(job, champion)
    if not checks:
        words = f"It was not measured beside {name}, which answers for `{alias.name}` now."
        raise Conflict(f"{words} {FORCE}", param="force")
    if bad := gate.said([one for one in checks if not one.passed]):
        words = f"It is worse than {name}, which answers for `{alias.name}` now: {bad}."
        raise Conflict(f"{words} {FORCE}", param="force")


def _champion(alias: Alias, job: Job) -> Job | None:
    """Give the training whose model answers most of an alias's requests, if one does."""
    others = _without(aliases.shown_targets(alias), job)
    most = max(others, key=lambda target: float(str(target["weight"])), default=None)
    name = str(most["model"]) if most else ""
    return Job.objects.filter(fine_tuned_model=name).exclude(fine_tuned_model="").first()


def _find(name: str, job: Job, who: Principal) -> Alias | None:
    """Raises: PermissionDenied for an alias that this person may not move."""
    rows = sight.aliases(who).select_related("target", "team")
    alias = rows.filter(name=name).first()
    if alias is None:
        return None
    is_own = alias.team_id == job.team_id and alias.visibility == Visibility.TEAM
    if not is_own and not who.allows_in(ALIASES, alias.team_id or 0):
        raise PermissionDenied(f"Others use `{name}`, too: this needs the scope {ALIASES}.")
    return alias


def _made(job: Job, name: str) -> Alias:
    owner = {"team_id": job.team_id, "visibility": Visibility.TEAM}
    wanted = aliases.Wanted(targets=[{"model": job.fine_tuned_model}])
    return aliases.create(name, wanted, **owner)


def _shared(alias: Alias, job: Job, wanted: Wanted) -> Targets:
    """Give the targets of now their former proportions in what is left to them."""
    others = _without(aliases.shown_targets(alias), job)
    own: dict[str, object] = {"model": job.fine_tuned_model, "weight": wanted.percent}
    total = sum(float(str(target["weight"])) for target in others)
    if wanted.percent >= 100 or not total:
        return [own]
    left = (100 - wanted.percent) / total
    return [
        *({**target, "weight": round(float(str(target["weight"])) * left, 6)} for target in others),
        own,
    ]


def _without(targets: Targets, job: Job) -> Targets:
    return [target for target in targets if target["model"] != job.fine_tuned_model]
