"""Whose a model or a name is, and who sees it. Called by the verbs that make rows, and by both doors.

Invariant: a row is seen by nobody who does not see what it leads to (targets, base, origin).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction

from accounts.models import Team, Visibility, default_team_id
from accounts.principals import Principal
from inference import catalog, trail
from inference.errors import Conflict, NotFound, PermissionDenied
from inference.models import Alias, Model

SCOPE = "models:write"


@dataclass(frozen=True, slots=True)
class Place:
    """An owner team, and who sees the row."""

    team_id: int
    visibility: str


def place(who: Principal, team: str | None = None, visibility: str | None = None) -> Place:
    """Say where a new row belongs: the caller's team, for the whole hub. Raises: as `team_of`."""
    key = team_of(who, team) if team is not None else who.team_id or default_team_id()
    _check_held(who, key)
    return Place(key, visibility or Visibility.HUB)


def team_of(who: Principal, name: str) -> int:
    """Raises: NotFound, for a team that is not one's own; PermissionDenied."""
    found = Team.objects.filter(name=name).values_list("pk", flat=True).first()
    if found is None or not (found in who.teams or who.sees_all):
        raise NotFound(f"There is no team `{name[:64]}`, or it is not yours.", param="team")
    return found


def change(
    row: Model | Alias, who: Principal, team: str | None = None, visibility: str | None = None
) -> None:
    """Give a row to another team, or change who sees it. Raises: Conflict, NotFound, PermissionDenied."""
    if team is None and visibility is None:
        return
    with transaction.atomic():
        before = _words(row)
        if team is not None:
            row.team_id = team_of(who, team)
            _check_held(who, row.team_id)
        row.visibility = visibility or row.visibility
        check(row)
        row.save(update_fields=["team", "visibility", "updated_at"])
        catalog.invalidate()
        told = trail.model if isinstance(row, Model) else trail.alias
        told("own", row, before=before, after=_words(row))  # type: ignore[arg-type]


def check(row: Model | Alias) -> None:
    """Raises: Conflict, naming what stands in the way."""
    for below in _below(row):
        if not _covers(below, row):
            raise Conflict(f"`{below.name}` is not seen by all who would see `{row.name}`")
    for above in _above(row) if isinstance(row, Model) and row.pk else ():
        if not _covers(row, above):
            raise Conflict(f"`{above.name}` leads to `{row.name}` and is seen by more people")


def _covers(below: Model | Alias, above: Model | Alias) -> bool:
    if below.visibility == Visibility.HUB:
        return True
    return above.visibility == Visibility.TEAM and above.team_id == below.team_id


def _below(row: Model | Alias) -> Iterable[Model]:
    """What it leads to."""
    if isinstance(row, Alias):
        names = [target["model"] for target in row.targets] or [row.target.name]
        return Model.objects.filter(name__in=names)
    return [one for one in (row.base, row.variant_of) if one is not None]


def _above(row: Model) -> Iterable[Model | Alias]:
    """What leads to it."""
    yield from row.adapters.all()
    yield from row.variants.all()
    for alias in Alias.objects.select_related("target"):
        if alias.target_id == row.pk or any(t["model"] == row.name for t in alias.targets):
            yield alias


def _check_held(who: Principal, team: int) -> None:
    if not who.allows_in(SCOPE, team):
        raise PermissionDenied(f"This needs the scope {SCOPE} in the team that is to own it.")


def _words(row: Model | Alias) -> dict[str, str]:
    name = Team.objects.filter(pk=row.team_id or 0).values_list("name", flat=True).first()
    return {"team": name or "", "visibility": row.visibility}
