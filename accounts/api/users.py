"""`/api/v1/users`: people; their programs' accounts are under `/api/v1/service_accounts`."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import people
from accounts.api.lookups import team_in, user_of
from accounts.api.pages import Pages
from accounts.models import User
from accounts.permissions import principal_of
from accounts.strict import Strict, StrictQuery

PERSON = User.Kind.PERSON
TEXT = {"max_length": 150, "trim_whitespace": False}


class MemberOf(serializers.Serializer[Any]):
    team = serializers.CharField(source="team.name")
    level = serializers.CharField()
    role = serializers.CharField(help_text="Added to the role on the hub, in this team only.")


class UserView(serializers.Serializer[User]):
    username = serializers.CharField()
    role = serializers.CharField()
    is_active = serializers.BooleanField()
    teams = MemberOf(many=True, source="memberships")
    created_at = serializers.DateTimeField(source="date_joined")
    last_sign_in_at = serializers.DateTimeField(source="last_login", allow_null=True)


class NewUser(Strict):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1024, trim_whitespace=False, write_only=True)
    role = serializers.CharField(max_length=64, default=User.Role.DEVELOPER)
    team = serializers.CharField(
        max_length=64, required=False, help_text="The first one; else the default team."
    )


class UserChange(Strict):
    role = serializers.CharField(max_length=64, required=False)
    is_active = serializers.BooleanField(required=False)
    password = serializers.CharField(
        max_length=1024, trim_whitespace=False, required=False, write_only=True
    )


class UserFilter(StrictQuery):
    search = serializers.CharField(required=False, max_length=150, help_text="In user names.")


class Gone(serializers.Serializer[Any]):
    """What ended with an account. Models, names and data belong to teams and stay."""

    keys = serializers.IntegerField()
    memberships = serializers.IntegerField()


class Users(APIView):
    scopes = {"GET": people.SCOPE, "POST": people.SCOPE}
    query = {"GET": [*Pages.query, "search"]}

    @extend_schema(
        parameters=[UserFilter], responses=UserView(many=True), operation_id="users_list"
    )
    def get(self, request: Request) -> Response:
        """List people by name."""
        text = request.query_params.get("search", "")[:150]
        rows = User.objects.filter(kind=PERSON, username__icontains=text)
        rows = rows.prefetch_related("memberships__team").order_by("username")
        pages = Pages()
        shown = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([UserView(row).data for row in shown])

    @extend_schema(request=NewUser, responses={201: UserView})
    def post(self, request: Request) -> Response:
        """Make an account. Its role may hold only what the caller holds."""
        wanted = NewUser(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = wanted.validated_data
        made = people.create(
            given["username"],
            given["password"],
            given["role"],
            by=principal_of(request),
            team=team_in(request, given.get("team")),
        )
        return Response(UserView(made).data, status=201)


class OneUser(APIView):
    scopes = {"GET": people.SCOPE, "PATCH": people.SCOPE, "DELETE": people.SCOPE}

    @extend_schema(responses=UserView, operation_id="users_retrieve")
    def get(self, request: Request, username: str) -> Response:
        """Show one person."""
        return Response(UserView(user_of(username, PERSON)).data)

    @extend_schema(request=UserChange, responses=UserView)
    def patch(self, request: Request, username: str) -> Response:
        """Give another role, disable, enable, set a password: everywhere within two seconds."""
        user = user_of(username, PERSON)
        wanted = UserChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        changed = people.change(user, principal_of(request), **wanted.validated_data)
        return Response(UserView(changed).data)

    @extend_schema(request=None, responses=Gone)
    def delete(self, request: Request, username: str) -> Response:
        """Delete an account with its keys; what it made belongs to teams and stays."""
        return Response(people.remove(user_of(username, PERSON), principal_of(request)))
