"""Models for operators and scripts: list, show, change, remove, load, unload; one snapshot to poll."""

from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.pages import Pages
from accounts.permissions import principal_of
from inference import catalog, changes, fit, operations, owners, router, sight, specs, veil, wire
from inference.errors import Conflict, NodeUnavailable
from inference.management import serializers
from inference.management.rows import filtered, model_of, view, visible
from inference.models import Model


class Models(APIView):
    scopes = {"GET": "models:read"}
    query = {"GET": [*Pages.query, *serializers.Filter().fields]}

    @extend_schema(
        parameters=[serializers.Filter],
        responses=serializers.ModelView(many=True),
        operation_id="models_list",
    )
    def get(self, request: Request) -> Response:
        """List the models that the caller may use, each with its state in the node."""
        wanted = serializers.Filter(
            data={k: v for k, v in request.query_params.items() if k not in {"page", "page_size"}}
        )
        wanted.is_valid(raise_exception=True)
        rows = filtered(visible(request), wanted.validated_data).order_by("name")
        pages = Pages()
        live = _live()
        shown = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([view(row, live) for row in shown])


class OneModel(APIView):
    scopes = {"GET": "models:read", "PATCH": "models:write", "DELETE": "models:write"}
    query = {"DELETE": [*serializers.Force().fields]}

    @extend_schema(responses=serializers.OneModelView, operation_id="models_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one model, by name or alias, and whether it fits now."""
        row, state = model_of(request, name), _state()
        live = None if state is None else {one.name: one for one in state.models}
        return Response(
            {
                **view(row, live, whole=True),
                "fit": _fit(row, sight.snapshot(state, principal_of(request))),
            }
        )

    @extend_schema(request=serializers.Change, responses=serializers.ModelView)
    def patch(self, request: Request, name: str) -> Response:
        """Change settings; null sets one back. What takes a load waits for the next request."""
        wanted = serializers.Change(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        owner = {one: given.pop(one) for one in ("team", "visibility") if one in given}
        apart = {field: given.pop(field, None) for field in ("tags", "api_key", "engine")}
        row = model_of(request, name)
        wants_more = given or any(value is not None for value in apart.values()) or not owner
        with transaction.atomic():
            owners.change(row, principal_of(request), **owner)
            if wants_more:
                change = changes.Change(settings=serializers.settings_of(given), **apart)
                row = changes.change(row, change)
        if wants_more:
            operations.revise(row)
        return Response(view(visible(request).get(pk=row.pk), _live()))

    @extend_schema(
        parameters=[serializers.Force],
        request=None,
        responses={204: None, 202: serializers.Leaving},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Remove a model: unload it, and delete the files that the hub itself brought.

        202 where requests are still being answered: it is gone for new ones, and unloaded after them.
        """
        wanted = serializers.Force(data=request.query_params.dict())
        wanted.is_valid(raise_exception=True)
        row = model_of(request, name)
        gone = row.name
        running = operations.remove(row, force=wanted.validated_data["force"])
        if not running:
            return Response(status=204)
        return Response({"model": gone, "state": "draining", "running": running}, status=202)


class Load(APIView):
    scopes = {"POST": "models:load"}

    @extend_schema(request=serializers.LoadRequest, responses=serializers.Loaded)
    def post(self, request: Request, name: str) -> Response:
        """Load a model and wait until it is ready; others may be unloaded to make room."""
        wanted = serializers.LoadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = model_of(request, name)
        spec = catalog.resolve_now(row.name).spec
        who, deadline_s = principal_of(request), wanted.validated_data["deadline_s"]
        loaded = async_to_sync(operations.load)(spec, who, deadline_s)
        fields = ("memory_bytes", "device", "dtype", "context_tokens", "load_s")
        body = {field: getattr(loaded, field) for field in fields}
        return Response({"model": row.name, "state": "ready", **body})


class Plan(APIView):
    scopes = {"GET": "status:read"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, name: str) -> Response:
        """Say what loading this model now would do: whether it fits, and who would be unloaded."""
        row = model_of(request, name)
        found = async_to_sync(router.plan)(catalog.resolve_now(row.name).spec)
        hidden = catalog.hidden_now(principal_of(request))
        shown = [one for one in found.victims if one.name not in hidden]
        found = msgspec.structs.replace(veil.veiled(found, hidden), victims=shown)
        return Response({"model": row.name, **_whole(found)})


class Unload(APIView):
    scopes = {"POST": "models:load"}

    @extend_schema(request=serializers.UnloadRequest, responses=serializers.Unloaded)
    def post(self, request: Request, name: str) -> Response:
        """Finish what is being answered, then stop the model and give its memory back."""
        wanted = serializers.UnloadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = model_of(request, name)
        if row.is_attached:
            raise Conflict(f"`{row.name}` is attached to `{row.served_as}`: unload that one")
        async_to_sync(operations.unload)(row.name, force=wanted.validated_data["force"])
        return Response({"model": row.name, "state": "cold"})


class Status(APIView):
    scopes = {"GET": "status:read"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Give the node's state now: devices, models, queues, the newest decisions."""
        state = async_to_sync(router.snapshot)()
        body = _whole(sight.snapshot(state, principal_of(request)))
        for part, field in (("models", "name"), ("decisions", "model"), ("queue", "model")):
            body[part] = [row for row in body[part] if row[field] != veil.NAMELESS]
        for row in body["models"]:
            row["adapters"] = [a for a in row["adapters"] if a["name"] != veil.NAMELESS]
        return Response(body)


def _whole(value: Any) -> Any:
    """Give every field: the wire leaves out what is zero, a reader of JSON should not have to know."""
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _state() -> wire.Snapshot | None:
    """Ask the node; None while it is away."""
    try:
        return async_to_sync(router.snapshot)()
    except NodeUnavailable:
        return None


def _live() -> dict[str, wire.ModelStatus] | None:
    state = _state()
    return None if state is None else {one.name: one for one in state.models}


def _fit(row: Model, state: wire.Snapshot | None) -> dict[str, Any] | None:
    if state is None or row.state != Model.State.AVAILABLE:
        return None
    return fit.of(specs.of(row), state)
