"""Models for operators and scripts: list, show, change, remove, load, unload; one snapshot to poll."""

from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import Pages
from inference import catalog, fit, operations, router, wire
from inference.errors import Conflict, NodeUnavailable
from inference.management import serializers
from inference.management.rows import allowed, filtered, model_of, view, visible
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
        return Response({**view(row, live), "fit": _fit(row, state)})

    @extend_schema(request=serializers.Change, responses=serializers.ModelView)
    def patch(self, request: Request, name: str) -> Response:
        """Change settings; null sets one back. What takes a load waits for the next request."""
        wanted = serializers.Change(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        tags, key = given.pop("tags", None), given.pop("api_key", None)
        settings = serializers.settings_of(given)
        row = operations.change(model_of(request, name), settings, tags, key)
        return Response(view(row, _live()))

    @extend_schema(parameters=[serializers.Force], request=None, responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Remove a model: unload it, and delete the files that the hub itself brought."""
        wanted = serializers.Force(data=request.query_params.dict())
        wanted.is_valid(raise_exception=True)
        operations.remove(model_of(request, name), force=wanted.validated_data["force"])
        return Response(status=204)


class Load(APIView):
    scopes = {"POST": "models:load"}

    @extend_schema(request=serializers.LoadRequest, responses=serializers.Loaded)
    def post(self, request: Request, name: str) -> Response:
        """Load a model and wait until it is ready; others may be unloaded to make room."""
        wanted = serializers.LoadRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        row = model_of(request, name)
        spec = catalog.resolve_now(row.name).spec
        loaded = async_to_sync(router.load)(spec, deadline_s=wanted.validated_data["deadline_s"])
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
        mine = allowed(request)
        body = {"model": row.name, **_whole(found)}
        body["victims"] = [one for one in body["victims"] if mine is None or one["name"] in mine]
        return Response(body)


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
        async_to_sync(router.unload)(row.name, force=wanted.validated_data["force"])
        return Response({"model": row.name, "state": "cold"})


class Status(APIView):
    scopes = {"GET": "status:read"}

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Give the node's state now: devices, models, queues, the newest decisions."""
        state = async_to_sync(router.snapshot)()
        mine = allowed(request)
        body = _whole(state)
        for part, field in (("models", "name"), ("decisions", "model")):
            rows = body.get(part, [])
            body[part] = [row for row in rows if mine is None or row[field] in mine]
        for row in body["models"]:
            row["adapters"] = [a for a in row["adapters"] if mine is None or a["name"] in mine]
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
    return fit.of(catalog.spec_of(row), state)
