"""`/api/v1/keys` and `/api/v1/me`: list, issue and revoke keys; say who asks."""

from typing import Any, cast

from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import keys
from accounts.models import ApiKey, User
from accounts.permissions import ANYONE, principal_of
from accounts.strict import Strict

KEY_STATES = ["active", "expired", "revoked"]


class Pages(PageNumberPagination):
    """`?page=2&page_size=50`."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    query = ("page", page_size_query_param)

    def get_page_size(self, request: Request) -> int | None:
        """Raises: ValidationError, where DRF itself would take another size and say nothing."""
        given = request.query_params.get(self.page_size_query_param, "1")
        fits = given.isascii() and given.isdigit() and len(given) <= 4
        if not fits or not 1 <= int(given) <= self.max_page_size:
            reason = f"it must be a whole number from 1 to {self.max_page_size}"
            raise serializers.ValidationError({self.page_size_query_param: [reason]})
        return super().get_page_size(request)


class KeyView(serializers.Serializer[ApiKey]):
    """A key as it may be shown: never its secret."""

    id = serializers.CharField(source="public_id")
    prefix = serializers.CharField()
    name = serializers.CharField()
    owner = serializers.CharField(source="owner.username")
    state = serializers.ChoiceField(choices=KEY_STATES)
    scopes = serializers.ListField(child=serializers.CharField())
    models = serializers.ListField(child=serializers.CharField(), source="models_allowed")
    networks = serializers.ListField(child=serializers.CharField(), source="networks_allowed")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class IssuedKey(KeyView):
    key = serializers.CharField(help_text="The key itself: shown now and never again.")


class NewKey(Strict):
    name = serializers.CharField(max_length=keys.NAME_CHARS)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64, required=False
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=keys.MODEL_CHARS),
        max_length=keys.MAX_ENTRIES,
        required=False,
        help_text="Allow these models only; empty: every model.",
    )
    networks = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=keys.MAX_ENTRIES,
        required=False,
        help_text="Allow these addresses or ranges only, such as 10.0.0.0/8.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    user = serializers.CharField(
        max_length=150, required=False, help_text="Who owns the key; default: the caller."
    )


class Me(serializers.Serializer[Any]):
    username = serializers.CharField()
    role = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    key = serializers.CharField(allow_null=True, help_text="The key's id; null for a session.")
    models = serializers.ListField(child=serializers.CharField(), allow_null=True)


class Keys(APIView):
    scopes = {"GET": "keys:manage", "POST": "keys:manage"}
    query = {"GET": Pages.query}

    @extend_schema(responses=KeyView(many=True), operation_id="keys_list")
    def get(self, request: Request) -> Response:
        """List keys, newest first: one's own, or everyone's with users:manage."""
        pages = Pages()
        rows = pages.paginate_queryset(keys.listing(principal_of(request)), request, self)
        return pages.get_paginated_response([KeyView(row).data for row in rows or []])

    @extend_schema(request=NewKey, responses={201: IssuedKey})
    def post(self, request: Request) -> Response:
        """Issue a key. The answer holds the key; it cannot be shown again."""
        wanted = NewKey(data=request.data)
        wanted.is_valid(raise_exception=True)
        asked = cast("dict[str, Any]", wanted.validated_data)
        key, plaintext = keys.issue(
            _owner(request, asked.get("user")),
            asked["name"],
            asked.get("scopes"),
            by=principal_of(request),
            expires_at=asked.get("expires_at"),
            models=asked.get("models", ()),
            networks=asked.get("networks", ()),
        )
        body = {**KeyView(key).data, "key": plaintext}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class Key(APIView):
    scopes = {"GET": "keys:manage", "DELETE": "keys:manage"}

    @extend_schema(responses=KeyView, operation_id="keys_retrieve")
    def get(self, request: Request, public_id: str) -> Response:
        """Show one key."""
        return Response(KeyView(_visible(request, public_id)).data)

    @extend_schema(request=None, responses=KeyView)
    def delete(self, request: Request, public_id: str) -> Response:
        """Revoke a key: refused everywhere within two seconds, for good."""
        key = _visible(request, public_id)
        keys.revoke(key, by=principal_of(request))
        return Response(KeyView(key).data)


class WhoAmI(APIView):
    scopes = {"GET": ANYONE}

    @extend_schema(responses=Me)
    def get(self, request: Request) -> Response:
        """Say who this credential is and what it may do."""
        who = principal_of(request)
        return Response(
            {
                "username": who.username,
                "role": who.role,
                "scopes": sorted(who.scopes),
                "key": who.key_id,
                "models": None if who.models is None else sorted(who.models),
            }
        )


def _owner(request: Request, username: str | None) -> User:
    """Find the new key's owner; only who manages people may tell who exists."""
    who = principal_of(request)
    if username is None or username == who.username:
        return User.objects.get(pk=who.user_id)
    owner = User.objects.filter(username=username, is_active=True).first()
    if not who.allows("users:manage"):
        raise keys.NotHeld("Issuing keys for someone else needs the scope users:manage.", "user")
    if owner is None:
        raise keys.KeyRefused(f"There is no active user named {username}.", "user")
    return owner


def _visible(request: Request, public_id: str) -> ApiKey:
    key = keys.listing(principal_of(request)).filter(public_id=public_id).first()
    if key is None:
        raise Http404
    return key


urlpatterns = [
    path("keys", Keys.as_view(), name="api-keys"),
    path("keys/<slug:public_id>", Key.as_view(), name="api-key"),
    path("me", WhoAmI.as_view(), name="api-me"),
]
