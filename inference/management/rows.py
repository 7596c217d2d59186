"""Which models a caller sees, and how a row is shown. Called by the views of models and names."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.db.models import Prefetch, Q, QuerySet
from rest_framework.request import Request

from accounts.permissions import principal_of, require_in
from inference import owners, sight, wire
from inference.errors import ModelNotFound, PermissionDenied
from inference.live import status as live_status
from inference.management import serializers
from inference.models import Alias, Model

UNKNOWN = "the node is not running"
LIVE_FIELDS = serializers.Live().fields.keys()
OTHERWISE = frozenset(
    {"aliases", "live", "progress", "base", "variant_of", "team"}
)  # no plain columns


def visible(request: Request) -> QuerySet[Model]:
    who = principal_of(request)
    names = Prefetch("aliases", queryset=Alias.objects.visible_to(who))
    rows = sight.models(who).select_related("base", "variant_of", "team")
    return rows.prefetch_related(names)


def filtered(rows: QuerySet[Model], wanted: dict[str, Any]) -> QuerySet[Model]:
    for field in ("kind", "engine", "source", "state"):
        if wanted.get(field):
            rows = rows.filter(**{field: wanted[field]})
    if text := wanted.get("search"):
        rows = rows.filter(Q(name__icontains=text) | Q(aliases__name__icontains=text)).distinct()
    return rows


def check_seen(request: Request, names: Iterable[str], param: str) -> None:
    """What a body names and the caller may not see is not there. Raises: ModelNotFound."""
    wanted = [*names]
    there = {*visible(request).filter(name__in=wanted).values_list("name", flat=True)}
    for name in wanted:
        if name not in there:
            raise ModelNotFound(f"there is no model `{name[:128]}`", param=param)


def check_new_name(request: Request, name: str) -> None:
    """Who is limited to models makes no others. Raises: PermissionDenied."""
    if not principal_of(request).allows_model(name):
        raise PermissionDenied("This key is limited to models, and this name is none of them.")


def place(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """Take `team` and `visibility` out of a body, and give them as fields of a new row."""
    who = principal_of(request)
    return asdict(owners.place(who, given.pop("team", None), given.pop("visibility", None)))


def model_of(request: Request, name: str) -> Model:
    """Raises: ModelNotFound, also where the caller may not see it."""
    rows = visible(request)
    row = rows.filter(name=name).first() or rows.filter(aliases__name=name).first()
    if row is None:
        raise ModelNotFound(f"There is no model `{name}`, or it is not yours to see.")
    require_in(request, row.team_id or 0)
    return row


def view(
    row: Model, live: dict[str, wire.ModelStatus] | None, *, whole: bool = False
) -> dict[str, Any]:
    """Show a row; only one that is shown alone tells the sums of its files."""
    body: dict[str, Any] = {
        field: getattr(row, field)
        for field in serializers.ModelView().fields.keys()  # noqa: SIM118 (DRF types it so)
        if field not in OTHERWISE
    }
    if not whole:
        body["report"] = {name: v for name, v in body["report"].items() if name != "files"}
    return {
        **body,
        "team": row.team.name,
        "base": row.base.name if row.base else None,
        "variant_of": row.variant_of.name if row.variant_of else None,
        "aliases": sorted(alias.name for alias in row.aliases.all()),
        "progress": _progress(row),
        "live": _live_view(row, live),
    }


def _progress(row: Model) -> dict[str, Any] | None:
    if not row.is_arriving:
        return None
    fields = ("done_bytes", "total_bytes", "bytes_per_s", "eta_s")
    return {field: getattr(row, field) for field in fields}


def _live_view(row: Model, live: dict[str, wire.ModelStatus] | None) -> dict[str, Any]:
    blank = wire.ModelStatus(name=row.name, version="", state="cold", kind="llm", engine=row.engine)
    status = live_status(row.name, row.served_as, live or {}) or blank
    body = {field: getattr(status, field) for field in LIVE_FIELDS}
    return {**body, "state": "unknown", "reason": UNKNOWN} if live is None else body
