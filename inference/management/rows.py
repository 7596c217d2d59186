"""Which models a caller sees, and how a row is shown. Called by the views of models and names."""

from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request

from accounts.permissions import principal_of
from inference import catalog, wire
from inference.errors import ModelNotFound, PermissionDenied
from inference.live import status as live_status
from inference.management import serializers
from inference.models import Model

UNKNOWN = "the node is not running"
LIVE_FIELDS = serializers.Live().fields.keys()
OTHERWISE = frozenset({"aliases", "live", "progress", "base", "variant_of"})  # no plain columns


def visible(request: Request) -> QuerySet[Model]:
    rows = Model.objects.select_related("base", "variant_of").prefetch_related("aliases")
    names = allowed(request)
    return rows if names is None else rows.filter(name__in=names)


def filtered(rows: QuerySet[Model], wanted: dict[str, Any]) -> QuerySet[Model]:
    for field in ("kind", "engine", "source", "state"):
        if wanted.get(field):
            rows = rows.filter(**{field: wanted[field]})
    if text := wanted.get("search"):
        rows = rows.filter(Q(name__icontains=text) | Q(aliases__name__icontains=text)).distinct()
    return rows


def allowed(request: Request) -> frozenset[str] | None:
    """Names of the models that the caller's key allows, itself or by an alias; None: all."""
    named = principal_of(request).models
    if named is None:
        return None
    return named | {one.model for one in catalog.available_now() if one.name in named}


def check_new_name(request: Request, name: str) -> None:
    """A key that is limited to models makes no others. Raises: PermissionDenied."""
    named = principal_of(request).models
    if named is not None and name not in named:
        raise PermissionDenied("This key is limited to models, and this name is none of them.")


def model_of(request: Request, name: str) -> Model:
    """Raises: ModelNotFound, also where the caller may not see it."""
    rows = visible(request)
    row = rows.filter(name=name).first() or rows.filter(aliases__name=name).first()
    if row is None:
        raise ModelNotFound(f"There is no model `{name}`, or it is not yours to see.")
    return row


def view(row: Model, live: dict[str, wire.ModelStatus] | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        field: getattr(row, field)
        for field in serializers.ModelView().fields.keys()  # noqa: SIM118 (DRF types it so)
        if field not in OTHERWISE
    }
    return {
        **body,
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
