"""Limits that are edited live: put, show, drop. The API and the dashboard call these.

A change holds on every process within 2 s (accounts.epoch).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from accounts import audit, epoch, model_names
from accounts.denials import Refusal
from accounts.models import ApiKey, Limit, Team, User
from accounts.principals import Principal
from accounts.quota import EVERYONE

FIELDS = (
    "requests_per_minute",
    "tokens_per_hour",
    "concurrent_requests",
    "storage_bytes",
    "training_minutes",
)
QUOTAS = ("storage_bytes", "training_minutes")
WITHOUT_QUOTAS = ("key", "model")  # quotas count for people and teams
MOST = 10**15
SUBJECT_KINDS = ("everyone", "key", "user", "team", "model")
SCOPE = "admin:users"


class LimitRefused(Refusal):
    """A limit cannot be set; `field` is the argument at fault."""


class NobodyThere(Exception):
    """There is no such key, user, team or model."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose limits: `kind` and `name` as people say them, `subject` as they are counted."""

    kind: str
    name: str
    subject: str


def about(who: Principal, kind: str, name: str = "") -> About:
    """Find whom a limit is for: a key's public id, a user's, team's or model's name.

    What `who` does not see is not there. Raises: NobodyThere.
    """
    if kind == EVERYONE:
        return About(EVERYONE, "", EVERYONE)
    finders = {"key": _key, "user": _user, "team": _team, "model": _model}
    if kind not in finders:
        raise NobodyThere
    return About(kind, name, f"{kind}:{finders[kind](who, name)}")


def of(subject: str) -> dict[str, int | None]:
    """Give what a row says of this subject; None where it says nothing."""
    row = Limit.objects.filter(subject=subject).values(*FIELDS).first()
    return {**dict.fromkeys(FIELDS), **(row or {})}


def put(one: About, values: Mapping[str, int | None]) -> dict[str, int | None]:
    """Set what is named, leave the rest, and give the row as it is then. Raises: LimitRefused."""
    _check(values)
    _check_that_it_counts(one, values)
    with transaction.atomic():
        before = of(one.subject)
        row, _ = Limit.objects.select_for_update().get_or_create(subject=one.subject)
        for name, value in values.items():
            setattr(row, name, value)
        if any(getattr(row, name) is not None for name in FIELDS):
            row.save()
        else:
            row.delete()
        epoch.bump()
        after = of(one.subject)
        _record("limit.put", one, before, after)
    return after


def drop(one: About) -> None:
    """Forget the row: the defaults hold again."""
    with transaction.atomic():
        before = of(one.subject)
        Limit.objects.filter(subject=one.subject).delete()
        epoch.bump()
        _record("limit.drop", one, before, dict.fromkeys(FIELDS))


def listing() -> list[tuple[About, dict[str, int | None]]]:
    """Give every row with the name of its subject now; rows of what is gone are left out."""
    rows = {row["subject"]: row for row in Limit.objects.values("subject", *FIELDS)}
    names = _names([*rows])
    return [
        (About(subject.partition(":")[0], names[subject], subject), _values(row))
        for subject, row in rows.items()
        if subject in names
    ]


def _record(action: str, one: About, before: audit.Values, after: audit.Values) -> None:
    name = f"{one.kind}:{one.name}" if one.name else one.kind
    audit.record(action, "limit", name, pk=one.subject, before=before, after=after)


def may_edit(who: Principal) -> bool:
    return who.allows(SCOPE)


def _values(row: Mapping[str, object]) -> dict[str, int | None]:
    return {name: row[name] for name in FIELDS}  # type: ignore[misc]


def _check(values: Mapping[str, int | None]) -> None:
    for name, value in values.items():
        if name not in FIELDS:
            raise LimitRefused(f"There is no limit named {name[:100]}.", name[:100])
        if value is not None and not 0 <= value <= MOST:
            raise LimitRefused(f"A limit is a whole number from 0 to {MOST}.", name)


def _check_that_it_counts(one: About, values: Mapping[str, int | None]) -> None:
    """Refuse what nothing would be counted for; taking away is always right. Raises: LimitRefused."""
    given = [name for name, value in values.items() if value is not None]
    quotas = [name for name in given if name in QUOTAS]
    if one.kind in WITHOUT_QUOTAS and quotas:
        words = f"A {one.kind} has no {quotas[0]}: set it for a person, a team or everyone."
        raise LimitRefused(words, quotas[0])
    if one.kind == "model" and given and (models := model_names.leads_to(one.name)):
        words = f"This name leads to {', '.join(models)}: limit what it leads to."
        raise LimitRefused(words, "name")


def _key(who: Principal, name: str) -> str:
    if not ApiKey.objects.visible_to(who).filter(public_id=name).exists():
        raise NobodyThere
    return name


def _user(_who: Principal, name: str) -> int:
    return _found(User.objects.filter(username=name).values_list("pk", flat=True).first())


def _team(who: Principal, name: str) -> int:
    found = _found(Team.objects.filter(name=name).values_list("pk", flat=True).first())
    if not (who.sees_all or found in who.teams):
        raise NobodyThere
    return found


def _model(who: Principal, name: str) -> str:
    known: set[str] = import_string(settings.HUB_KNOWN_MODELS)(who)
    if name not in known:
        raise NobodyThere
    return name


def _found(pk: int | None) -> int:
    if pk is None:
        raise NobodyThere
    return pk


def _names(subjects: list[str]) -> dict[str, str]:
    """Give the names of subjects that are there."""
    ids: dict[str, list[str]] = {}
    for subject in subjects:
        kind, _, rest = subject.partition(":")
        ids.setdefault(kind, []).append(rest)
    keys = ApiKey.objects.filter(public_id__in=ids.get("key", [])).values_list("public_id", "name")
    users = User.objects.filter(pk__in=ids.get("user", [])).values_list("pk", "username")
    teams = Team.objects.filter(pk__in=ids.get("team", [])).values_list("pk", "name")
    return {
        **({EVERYONE: ""} if EVERYONE in subjects else {}),
        **{f"model:{name}": name for name in ids.get("model", [])},
        **{f"key:{public_id}": public_id for public_id, _ in keys},
        **{f"user:{pk}": name for pk, name in users},
        **{f"team:{pk}": name for pk, name in teams},
    }
