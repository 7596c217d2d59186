"""`/api/v1/keys`: list, issue, rotate and revoke keys."""

import datetime as dt
from typing import Any, cast

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import key_rules, keys
from accounts.api.lookups import team_in
from accounts.api.pages import Pages
from accounts.models import ApiKey, User
from accounts.permissions import principal_of
from accounts.strict import Strict

KEY_STATES = ["active", "expired", "revoked"]


class KeyView(serializers.Serializer[ApiKey]):
    """A key as it may be shown: never its secret."""

    id = serializers.CharField(source="public_id")
    prefix = serializers.CharField()
    name = serializers.CharField()
    owner = serializers.CharField(source="owner.username")
    team = serializers.CharField(source="team.name", help_text="Whose objects and limits it has.")
    state = serializers.ChoiceField(choices=KEY_STATES)
    scopes = serializers.ListField(child=serializers.CharField())
    models = serializers.ListField(child=serializers.CharField(), source="models_allowed")
    networks = serializers.ListField(child=serializers.CharField(), source="networks_allowed")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    last_used_from = serializers.CharField(allow_null=True, help_text="The address.")
    follows = serializers.CharField(
        source="follows.public_id",
        allow_null=True,
        default=None,
        help_text="The key that it was rotated from.",
    )


class IssuedKey(KeyView):
    key = serializers.CharField(help_text="The key itself: shown now and never again.")


class NewKey(Strict):
    name = serializers.CharField(max_length=key_rules.NAME_CHARS)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64, required=False
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=key_rules.MODEL_CHARS),
        max_length=key_rules.MAX_ENTRIES,
        required=False,
        help_text="Allow these models only; empty: every model.",
    )
    networks = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=key_rules.MAX_ENTRIES,
        required=False,
        help_text="Allow these addresses or ranges only, such as 10.0.0.0/8.",
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    user = serializers.CharField(
        max_length=150,
        required=False,
        help_text="Who owns the key, a person or a service account; default: the caller.",
    )
    team = serializers.CharField(
        max_length=64, required=False, help_text="One of the owner's teams; default: the first."
    )


class Rotation(Strict):
    overlap_s = serializers.IntegerField(
        min_value=0,
        max_value=int(keys.LONGEST_OVERLAP.total_seconds()),
        default=0,
        help_text="How long the old key works on.",
    )


class Keys(APIView):
    scopes = {"GET": "keys:read", "POST": "keys:write"}
    query = {"GET": Pages.query}

    @extend_schema(responses=KeyView(many=True), operation_id="keys_list")
    def get(self, request: Request) -> Response:
        """List keys, newest first: one's own and one's team's, or everyone's with admin:users."""
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
            team=team_in(request, asked.get("team")),
            expires_at=asked.get("expires_at"),
            models=asked.get("models", ()),
            networks=asked.get("networks", ()),
        )
        body = {**KeyView(key).data, "key": plaintext}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class Key(APIView):
    scopes = {"GET": "keys:read", "DELETE": "keys:write"}

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


class Rotate(APIView):
    scopes = {"POST": "keys:write"}

    @extend_schema(request=Rotation, responses={201: IssuedKey})
    def post(self, request: Request, public_id: str) -> Response:
        """Make a key that may do the same; the old one ends now, or after the overlap."""
        key = _visible(request, public_id)
        wanted = Rotation(data=request.data)
        wanted.is_valid(raise_exception=True)
        overlap = dt.timedelta(seconds=wanted.validated_data["overlap_s"])
        new, plaintext = keys.rotate(key, principal_of(request), overlap)
        body = {**KeyView(new).data, "key": plaintext}
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


def _owner(request: Request, username: str | None) -> User:
    """Find the new key's owner; only who manages people may tell who exists."""
    who = principal_of(request)
    if username is None or username == who.username:
        return User.objects.get(pk=who.user_id)
    owner = User.objects.filter(username=username, is_active=True).first()
    if owner is not None and owner.bound_team_id in who.manages:
        return owner
    if not who.allows("admin:users"):
        raise keys.NotHeld("Issuing keys for someone else needs the scope admin:users.", "user")
    if owner is None:
        raise keys.KeyRefused(f"There is no active user named {username}.", "user")
    return owner


def _visible(request: Request, public_id: str) -> ApiKey:
    key = keys.listing(principal_of(request)).filter(public_id=public_id).first()
    if key is None:
        raise Http404
    return key
