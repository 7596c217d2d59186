"""`/api/v1/service_accounts`: accounts of programs, with keys and without a password."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import people, service_accounts
from accounts.api.lookups import team_of
from accounts.api.pages import Pages
from accounts.api.users import Gone
from accounts.models import User
from accounts.permissions import principal_of
from accounts.strict import Strict


class AccountView(serializers.Serializer[User]):
    name = serializers.CharField(source="username")
    team = serializers.CharField(source="team.name")
    role = serializers.CharField()
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField(source="date_joined")


class NewAccount(Strict):
    name = serializers.CharField(max_length=150)
    team = serializers.CharField(max_length=64)
    role = serializers.CharField(max_length=64, default=User.Role.DEVELOPER)


class AccountChange(Strict):
    role = serializers.CharField(max_length=64, required=False)
    is_active = serializers.BooleanField(required=False)


class ServiceAccounts(APIView):
    scopes = {"GET": "teams:read", "POST": "teams:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=AccountView(many=True), operation_id="service_accounts_list")
    def get(self, request: Request) -> Response:
        """List those of the teams that the caller manages, or all with admin:users."""
        pages = Pages()
        rows = service_accounts.listing(principal_of(request)).order_by("username")
        shown = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([AccountView(row).data for row in shown])

    @extend_schema(request=NewAccount, responses={201: AccountView})
    def post(self, request: Request) -> Response:
        """Make an account in a team; issue its keys with `POST /api/v1/keys`, `user` its name."""
        wanted = NewAccount(data=request.data)
        wanted.is_valid(raise_exception=True)
        given: dict[str, Any] = wanted.validated_data
        team = team_of(request, given["team"])
        made = service_accounts.create(given["name"], team, given["role"], principal_of(request))
        return Response(AccountView(made).data, status=201)


class ServiceAccount(APIView):
    scopes = {"GET": "teams:read", "PATCH": "teams:write", "DELETE": "teams:write"}

    @extend_schema(responses=AccountView, operation_id="service_accounts_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one account."""
        return Response(AccountView(_account(request, name)).data)

    @extend_schema(request=AccountChange, responses=AccountView)
    def patch(self, request: Request, name: str) -> Response:
        """Give another role, disable or enable."""
        account = _account(request, name)
        wanted = AccountChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        changed = people.change(account, principal_of(request), **wanted.validated_data)
        return Response(AccountView(changed).data)

    @extend_schema(request=None, responses=Gone)
    def delete(self, request: Request, name: str) -> Response:
        """Delete an account with its keys."""
        return Response(people.remove(_account(request, name), principal_of(request)))


def _account(request: Request, name: str) -> User:
    found = service_accounts.listing(principal_of(request)).filter(username=name).first()
    if found is None:
        raise Http404
    return found
