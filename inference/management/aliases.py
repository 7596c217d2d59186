"""`/api/v1/aliases`: other names of models, and routes over several of them."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.pages import Pages
from accounts.permissions import principal_of, require_in
from accounts.strict import Strict
from inference import aliases, owners, sight
from inference.management.rows import check_new_name, check_seen, place
from inference.management.serializers import Ownership
from inference.models import Alias


class Target(Strict):
    model = serializers.CharField(max_length=128)
    weight = serializers.FloatField(
        min_value=0,
        max_value=aliases.MAX_WEIGHT,
        default=1.0,
        help_text="Its share of the requests; 0: only when those before it failed.",
    )


class AliasView(serializers.Serializer[Any]):
    name = serializers.CharField()
    targets = Target(many=True)
    former = Target(many=True, help_text="The targets before the last change.")
    sticky = serializers.BooleanField(help_text="A user stays with a target.")
    defaults = serializers.DictField(help_text="Parameters where a request leaves them open.")
    system_prompt = serializers.CharField(help_text="Of chats that bring none.")
    team = serializers.CharField(help_text="Who owns it.")
    visibility = serializers.CharField(help_text="hub: everybody sees it; team: its members.")
    updated_at = serializers.DateTimeField()


class RouteChange(Ownership):
    targets = Target(many=True, required=False)
    sticky = serializers.BooleanField(required=False)
    defaults = serializers.DictField(required=False)
    system_prompt = serializers.CharField(
        required=False, allow_blank=True, max_length=aliases.MAX_PROMPT_CHARS, trim_whitespace=False
    )


class NewRoute(RouteChange):
    name = serializers.CharField(max_length=128)


class Aliases(APIView):
    scopes = {"GET": "models:read", "POST": "models:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=AliasView(many=True), operation_id="aliases_list")
    def get(self, request: Request) -> Response:
        """List names and routes."""
        pages = Pages()
        rows = pages.paginate_queryset(_visible(request).order_by("name"), request, self) or []
        return pages.get_paginated_response([_view(row) for row in rows])

    @extend_schema(request=NewRoute, responses={201: AliasView})
    def post(self, request: Request) -> Response:
        """Make a name for a model, or a route over several."""
        wanted = NewRoute(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        name = given.pop("name")
        check_new_name(request, name)
        owner = place(request, given)
        alias = aliases.create(name, _wanted(request, given), **owner)
        return Response(_view(alias), status=201)


class OneAlias(APIView):
    scopes = {"GET": "models:read", "PATCH": "models:write", "DELETE": "models:write"}

    @extend_schema(responses=AliasView, operation_id="aliases_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one name."""
        return Response(_view(_alias(request, name)))

    @extend_schema(request=RouteChange, responses=AliasView)
    def patch(self, request: Request, name: str) -> Response:
        """Change it, everywhere within two seconds; what is not named stays."""
        wanted = RouteChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        alias, given = _alias(request, name), dict(wanted.validated_data)
        owner = {one: given.pop(one) for one in ("team", "visibility") if one in given}
        with transaction.atomic():
            owners.change(alias, principal_of(request), **owner)
            if given:
                alias = aliases.change(alias, _wanted(request, given))
        return Response(_view(alias))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Remove a name; the models stay."""
        aliases.remove(_alias(request, name))
        return Response(status=204)


class RollBack(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=None, responses=AliasView)
    def post(self, request: Request, name: str) -> Response:
        """Bring the targets before the last change back."""
        return Response(_view(aliases.roll_back(_alias(request, name))))


def _visible(request: Request) -> QuerySet[Alias]:
    return sight.aliases(principal_of(request)).select_related("target", "team")


def _alias(request: Request, name: str) -> Alias:
    alias = _visible(request).filter(name=name).first()
    if alias is None:
        raise Http404
    require_in(request, alias.team_id or 0)
    return alias


def _wanted(request: Request, given: dict[str, Any]) -> aliases.Wanted:
    """A target that the caller may not see is none. Raises: ModelNotFound."""
    check_seen(request, [target["model"] for target in given.get("targets") or []], "targets")
    return aliases.Wanted(**given)


def _view(alias: Alias) -> dict[str, Any]:
    plain = ("name", "former", "sticky", "defaults", "system_prompt", "visibility", "updated_at")
    body: dict[str, Any] = {field: getattr(alias, field) for field in plain}
    return {**body, "team": alias.team.name, "targets": aliases.shown_targets(alias)}
