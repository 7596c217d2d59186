"""Models for operators and scripts: list with live state, load, unload; one snapshot to poll."""

from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import Pages
from accounts.permissions import principal_of
from inference import catalog, router, wire
from inference.errors import ModelNotFound, NodeUnavailable
from inference.management import serializers
from inference.models import Model

UNKNOWN = "the node is not running"
LIVE_FIELDS = serializers.Live().fields.keys()


class Models(APIView):
    scopes = {"GET": "models:read"}

    @extend_schema(responses=serializers.ModelView(many=True), operation_id="models_list")
    def get(self, request: Request) -> Response:
        """List the models that the caller may use, each with its state in the node."""
        pages = Pages()
        rows = pages.paginate_queryset(_visible(request).order_by("name"), request, self) or []
        live = _live()
        return pages.get_paginated_response([_view(row, live) for row in rows])


class OneModel(APIView):
    scopes = {"GET": "models:read"}

    @extend_schema(responses=serializers.ModelView, operation_id="models_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one model, by name or alias."""
        return Response(_view(_model(request, name), _live()))


class Load(APIView):
    scopes = {"POST": "models:manage"}

    @extend_schema(request=serializers.LoadRequest, responses=serializers.Loaded)
    def post(self, request: Request, name: str) -> Response:
        """Load a model and wait until it is ready; others may be unloaded to make room."""
        wanted = serializers.LoadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = _model(request, name)
        spec = catalog.resolve_now(row.name).spec
        loaded = async_to_sync(router.load)(spec, deadline_s=wanted.validated_data["deadline_s"])
        fields = ("memory_bytes", "device", "dtype", "context_tokens", "load_s")
        body = {field: getattr(loaded, field) for field in fields}
        return Response({"model": row.name, "state": "ready", **body})


class Unload(APIView):
    scopes = {"POST": "models:manage"}

    @extend_schema(request=serializers.UnloadRequest, responses=serializers.Unloaded)
    def post(self, request: Request, name: str) -> Response:
        """Finish what is being answered, then stop the model and give its memory back."""
        wanted = serializers.UnloadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = _model(request, name)
        async_to_sync(router.unload)(row.name, force=wanted.validated_data["force"])
        return Response({"model": row.name, "state": "cold"})


class Status(APIView):
    scopes = {"GET": "status:read"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Give the node's state now: devices, models, queues, the newest decisions."""
        state = async_to_sync(router.snapshot)()
        allowed = _allowed(request)
        body: dict[str, Any] = msgspec.to_builtins(state)
        body.pop("type", None)
        for part, field in (("models", "name"), ("decisions", "model")):
            rows = body.get(part, [])
            body[part] = [row for row in rows if allowed is None or row[field] in allowed]
        return Response(body)


def _visible(request: Request) -> QuerySet[Model]:
    rows, allowed = Model.objects.prefetch_related("aliases"), _allowed(request)
    return rows if allowed is None else rows.filter(name__in=allowed)


def _allowed(request: Request) -> frozenset[str] | None:
    """Names of the models that the caller's key allows, itself or by an alias; None: all."""
    named = principal_of(request).models
    if named is None:
        return None
    return named | {one.model for one in catalog.available_now() if one.name in named}


def _model(request: Request, name: str) -> Model:
    """Raises: ModelNotFound, also where the caller may not see it."""
    rows = _visible(request)
    row = rows.filter(name=name).first() or rows.filter(aliases__name=name).first()
    if row is None:
        raise ModelNotFound(f"There is no model `{name}`, or it is not yours to see.")
    return row


def _live() -> dict[str, wire.ModelStatus] | None:
    """Ask the node; None while it is away."""
    try:
        return {one.name: one for one in async_to_sync(router.snapshot)().models}
    except NodeUnavailable:
        return None


def _view(row: Model, live: dict[str, wire.ModelStatus] | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        field: getattr(row, field)
        for field in serializers.ModelView().fields.keys()  # noqa: SIM118 (DRF types it so)
        if field not in {"aliases", "live"}
    }
    aliases = sorted(alias.name for alias in row.aliases.all())
    return {**body, "aliases": aliases, "live": _live_view(row, live)}


def _live_view(row: Model, live: dict[str, wire.ModelStatus] | None) -> dict[str, Any]:
    blank = wire.ModelStatus(name=row.name, version="", state="cold", kind="llm", engine=row.engine)
    status = blank if live is None else live.get(row.name, blank)
    body = {field: getattr(status, field) for field in LIVE_FIELDS}
    return {**body, "state": "unknown", "reason": UNKNOWN} if live is None else body
