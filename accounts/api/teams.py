"""`/api/v1/teams` and who is in them."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import grants, teams
from accounts.api.lookups import joining, member_of, team_in, team_of
from accounts.api.pages import Pages
from accounts.models import Membership, Team
from accounts.permissions import principal_of
from accounts.strict import Strict, StrictQuery


class TeamView(serializers.Serializer[Team]):
    name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.BooleanField()
    scopes = serializers.ListField(
        child=serializers.CharField(), source="scopes_allowed", help_text="Empty: all."
    )
    models = serializers.ListField(
        child=serializers.CharField(), source="models_allowed", help_text="Empty: all."
    )
    created_at = serializers.DateTimeField()


class TeamChange(Strict):
    name = serializers.CharField(max_length=64, required=False)
    description = serializers.CharField(max_length=300, required=False, allow_blank=True)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=64,
        required=False,
        help_text="Members and keys of the team hold no others in it; empty: no limit.",
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=128),
        max_length=teams.MAX_NAMES,
        required=False,
        help_text="Models and aliases that the team may use; empty: all.",
    )


class NewTeam(TeamChange):
    name = serializers.CharField(max_length=64)


class MemberView(serializers.Serializer[Membership]):
    user = serializers.CharField(source="user.username")
    kind = serializers.CharField(source="user.kind")
    level = serializers.CharField()
    role = serializers.CharField()
    created_at = serializers.DateTimeField()


class MemberChange(Strict):
    level = serializers.ChoiceField(choices=Membership.Level.values, required=False)
    role = serializers.CharField(
        max_length=64, required=False, allow_blank=True, help_text="Added in this team only."
    )


class NewMember(MemberChange):
    user = serializers.CharField(max_length=150)


class To(StrictQuery):
    to = serializers.CharField(
        required=False, max_length=64, help_text="Which team is to have what it owns."
    )


class Teams(APIView):
    scopes = {"GET": "teams:read", "POST": teams.SCOPE}
    query = {"GET": Pages.query}

    @extend_schema(responses=TeamView(many=True), operation_id="teams_list")
    def get(self, request: Request) -> Response:
        """List the caller's teams, or all with admin:teams."""
        pages = Pages()
        shown = pages.paginate_queryset(teams.listing(principal_of(request)), request, self) or []
        return pages.get_paginated_response([TeamView(row).data for row in shown])

    @extend_schema(request=NewTeam, responses={201: TeamView})
    def post(self, request: Request) -> Response:
        """Make a team without members."""
        wanted = NewTeam(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        made = teams.create(given.pop("name"), principal_of(request), **given)
        return Response(TeamView(made).data, status=201)


class OneTeam(APIView):
    scopes = {"GET": "teams:read", "PATCH": teams.SCOPE, "DELETE": teams.SCOPE}
    query = {"DELETE": ["to"]}

    @extend_schema(responses=TeamView, operation_id="teams_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one team."""
        return Response(TeamView(team_of(request, name)).data)

    @extend_schema(request=TeamChange, responses=TeamView)
    def patch(self, request: Request, name: str) -> Response:
        """Change a team; what restricts it holds within two seconds."""
        team = team_of(request, name)
        wanted = TeamChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        changed = teams.change(team, principal_of(request), **wanted.validated_data)
        return Response(TeamView(changed).data)

    @extend_schema(parameters=[To], request=None, responses=OpenApiTypes.OBJECT)
    def delete(self, request: Request, name: str) -> Response:
        """Delete a team: its keys and service accounts end, what it owns goes to the team `to`."""
        team = team_of(request, name)
        to = team_in(request, request.query_params.get("to"))
        return Response(teams.remove(team, principal_of(request), to))


class Members(APIView):
    scopes = {"GET": "teams:read", "POST": "teams:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=MemberView(many=True), operation_id="members_list")
    def get(self, request: Request, name: str) -> Response:
        """List who is in a team."""
        pages = Pages()
        rows = team_of(request, name).memberships.select_related("user").order_by("user__username")
        shown = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([MemberView(row).data for row in shown])

    @extend_schema(request=NewMember, responses={201: MemberView})
    def post(self, request: Request, name: str) -> Response:
        """Make somebody a member, by user name: for the team's managers and admin:teams."""
        team = team_of(request, name)
        wanted = NewMember(data=request.data)
        wanted.is_valid(raise_exception=True)
        given: dict[str, Any] = dict(wanted.validated_data)
        grants.check_manages(principal_of(request), team)
        user = joining(given.pop("user"))
        made = teams.add(team, user, principal_of(request), **given)
        return Response(MemberView(made).data, status=201)


class Member(APIView):
    scopes = {"GET": "teams:read", "PATCH": "teams:write", "DELETE": "teams:write"}

    @extend_schema(responses=MemberView, operation_id="members_retrieve")
    def get(self, request: Request, name: str, username: str) -> Response:
        """Show one member."""
        return Response(MemberView(member_of(request, name, username)).data)

    @extend_schema(request=MemberChange, responses=MemberView)
    def patch(self, request: Request, name: str, username: str) -> Response:
        """Make a manager of a member, or back; give another role in this team."""
        member = member_of(request, name, username)
        wanted = MemberChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        changed = teams.change_member(member, principal_of(request), **wanted.validated_data)
        return Response(MemberView(changed).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, name: str, username: str) -> Response:
        """Take somebody out of a team: their keys of it are refused within two seconds."""
        teams.remove_member(member_of(request, name, username), principal_of(request))
        return Response(status=204)
