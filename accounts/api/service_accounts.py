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
from accounts.denials import Refusal
from accounts.models import Team, User
from accounts.permissions import principal_of
from accounts.strict import Strict


class AccountView(serializers.Serializer[User]):
    name = serializers.CharField(source="username")
    team = serializers.SerializerMethodField(help_text="Whose it is; null: the hub's.")
    is_hub_wide = serializers.BooleanField(help_text="Its role holds on the whole hub.")
    role = serializers.CharField()
    contact = serializers.CharField(help_text="Who answers for it.")
    description = serializers.CharField()
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField(source="date_joined")
    last_used_at = serializers.DateTimeField(
        allow_null=True, default=None, help_text="Of its keys, the last use."
    )

    def get_team(self, account: User) -> str | None:
        team = account.bound_team
        return team.name if team is not None else None


class NewAccount(Strict):
    name = serializers.CharField(max_length=150)
    team = serializers.CharField(
        max_length=64, required=False, help_text="Whose it is; its role holds there."
    )
    is_hub_wide = serializers.BooleanField(
        default=False, help_text="In place of a team: its role holds everywhere (admin:users)."
    )
    role = serializers.CharField(max_length=64, default=User.Role.DEVELOPER)
    contact = serializers.CharField(
        max_length=service_accounts.CONTACT_CHARS,
        default="",
        allow_blank=True,
        help_text="Who answers for it; default: the caller.",
    )
    description = serializers.CharField(max_length=300, default="", allow_blank=True)


class AccountChange(Strict):
    role = serializers.CharField(max_length=64, required=False)
    is_active = serializers.BooleanField(required=False)
    contact = serializers.CharField(
        max_length=service_accounts.CONTACT_CHARS, required=False, allow_blank=True
    )
    description = serializers.CharField(max_length=300, required=False, allow_blank=True)


class ServiceAccounts(APIView):
    scopes = {"GET": "teams:read", "POST": "teams:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=AccountView(many=True), operation_id="service_accounts_list")
    def get(self, request: Request) -> Response:
        """List those of the teams that the caller manages, or all with admin:users."""
        pages = Pages()
        own = service_accounts.listing(principal_of(request))
        rows = service_accounts.with_use(own).order_by("username")
        shown = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([AccountView(row).data for row in shown])

    @extend_schema(request=NewAccount, responses={201: AccountView})
    def post(self, request: Request) -> Response:
        """Make one of a team, or hub-wide; issue its keys with `POST /api/v1/keys`, `user` its name."""
        wanted = NewAccount(data=request.data)
        wanted.is_valid(raise_exception=True)
        given: dict[str, Any] = dict(wanted.validated_data)
        team = _place(request, given.pop("team", None), given.pop("is_hub_wide"))
        name, role = given.pop("name"), given.pop("role")
        made = service_accounts.create(name, team, role, principal_of(request), **given)
        return Response(AccountView(made).data, status=201)


class ServiceAccount(APIView):
    scopes = {"GET": "teams:read", "PATCH": "teams:write", "DELETE": "teams:write"}

    @extend_schema(responses=AccountView, operation_id="service_accounts_retrieve")
    def get(self, request: Request, name: str) -> Response:
        """Show one account."""
        return Response(AccountView(_account(request, name)).data)

    @extend_schema(request=AccountChange, responses=AccountView)
    def patch(self, request: Request, name: str) -> Response:
        """Give another role, disable or enable, say who answers for it."""
        account = _account(request, name)
        wanted = AccountChange(data=request.data)
        wanted.is_valid(raise_exception=True)
        who = principal_of(request)
        service_accounts.change(account, who, **wanted.validated_data)
        return Response(AccountView(_account(request, name)).data)

    @extend_schema(request=None, responses=Gone)
    def delete(self, request: Request, name: str) -> Response:
        """Delete an account with its keys."""
        return Response(people.remove(_account(request, name), principal_of(request)))


def _place(request: Request, team: str | None, is_hub_wide: bool) -> Team | None:
    """Find whose a new account is: None for the hub's. Raises: Http404, Refusal."""
    if (team is None) is not is_hub_wide:
        raise Refusal("Name either a team, or is_hub_wide: true.", "team")
    return None if team is None else team_of(request, team)


def _account(request: Request, name: str) -> User:
    own = service_accounts.with_use(service_accounts.listing(principal_of(request)))
    found = own.filter(username=name).first()
    if found is None:
        raise Http404
    return found
