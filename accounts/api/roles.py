"""`/api/v1/roles`: the built-in ones, and those that the hub made for itself."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import roles, scopes
from accounts.api.lookups import team_in
from accounts.api.pages import Pages
from accounts.models import Role
from accounts.permissions import principal_of
from accounts.strict import Strict


class RoleView(serializers.Serializer[Any]):
    name = serializers.CharField()
    description = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    team = serializers.CharField(allow_null=True, help_text="Null: for the whole hub.")
    built_in = serializers.BooleanField()


class RoleChange(Strict):
    description = serializers.CharField(max_length=300, required=False, allow_blank=True)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64, required=False
    )


class NewRole(RoleChange):
    name = serializers.CharField(max_length=64)
    scopes = serializers.ListField(child=serializers.CharField(max_length=64), max_length=64)
    team = serializers.CharField(
        max_length=64, required=False, help_text="A role that can be given in this team only."
    )


class Roles(APIView):
    scopes = {"GET": "teams:read", "POST": "teams:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=RoleView(many=True), operation_id="roles_list")
    def get(self, request: Request) -> Response:
        """List roles, the built-in ones first."""
        own = [_view(role) for role in roles.listing(principal_of(request))]
        pages = Pages()
        shown = pages.paginate_queryset([*BUILT_IN, *own], request, self)
        return pages.get_paginated_response(shown or [])

    @extend_schema(request=NewRole, responses={201: RoleView})
    def post(self, request: Request) -> Response:
        """Make a role out of scopes that the caller holds: with admin:roles, or in a team they manage."""
        wanted = NewRole(data=request.data)
        wanted.is_valid(raise_exception=True)
        given: dict[str, Any] = wanted.validated_data
        made = roles.create(
            given["name"],
            given["scopes"],
            principal_of(request),
            given.get("description", ""),
            team_in(request, given.get("team")),
        )
        return Response(_view(made), status=201)


class OneRole(APIView):
    scopes = {"GET": "teams:read", "PATCH": "teams:write", "DELETE": "teams:write"}

    @extend_schema(responses=RoleView, operation_id="roles_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one role."""
        built_in = [role for role in BUILT_IN if role["name"] == name]
        return Response(built_in[0] if built_in else _view(_role(request, name)))

    @extend_schema(request=RoleChange, responses=RoleView)
    def patch(self, request: Request, name: str) -> Response:
        """Change what a role holds, for everybody who has it, within two seconds."""
        role = _role(request, name)
        wanted = RoleChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        given: dict[str, Any] = wanted.validated_data
        who = principal_of(request)
        changed = roles.change(role, who, given.get("scopes"), given.get("description"))
        return Response(_view(changed))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Delete a role that nobody has."""
        roles.remove(_role(request, name), principal_of(request))
        return Response(status=204)


def _role(request: Request, name: str) -> Role:
    found = roles.listing(principal_of(request)).filter(name=name).first()
    if found is None:
        raise Http404
    return found


def _view(role: Role) -> dict[str, Any]:
    team = role.team.name if role.team is not None else None
    return {
        "name": role.name,
        "description": role.description,
        "scopes": role.scopes,
        "team": team,
        "built_in": False,
    }


BUILT_IN: list[dict[str, Any]] = [
    {"name": name, "description": "", "scopes": sorted(held), "team": None, "built_in": True}
    for name, held in scopes.ROLES.items()
]
