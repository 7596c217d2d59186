"""`/api/v1/providers`: OpenID and OAuth2 providers of single sign-on. Their secrets go in and never come out."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import providers
from accounts.api.pages import Pages
from accounts.journeys import SignOnFailed
from accounts.models import Provider
from accounts.permissions import principal_of
from accounts.providers import Wanted
from accounts.strict import Strict

SCOPE = "admin:system"  # and admin:users, which the verbs ask for


class ProviderView(serializers.ModelSerializer[Provider]):
    class Meta:
        model = Provider
        exclude = ("id", "client_secret")


class Addresses(Strict):
    """Of a provider that speaks no OpenID Connect."""

    authorize_url = serializers.CharField(max_length=400)
    token_url = serializers.CharField(max_length=240)
    userinfo_url = serializers.CharField(max_length=240)
    subject_claim = serializers.CharField(
        max_length=60, default="id", help_text="Tells people apart, and is never given again."
    )
    scope = serializers.CharField(max_length=300, default="", allow_blank=True)


class NewProvider(Strict):
    name = serializers.CharField(max_length=60)
    issuer = serializers.CharField(
        max_length=500, required=False, help_text="Of an OpenID provider; or else `oauth2`."
    )
    oauth2 = Addresses(required=False)
    client_id = serializers.CharField(max_length=300)
    client_secret = serializers.CharField(
        max_length=1000, required=False, allow_blank=True, help_text="Sealed; never shown again."
    )
    group_claim = serializers.CharField(max_length=100, required=False)
    roles = serializers.DictField(
        child=serializers.CharField(max_length=64), required=False, help_text="Group to role."
    )
    teams = serializers.DictField(
        child=serializers.CharField(max_length=64), required=False, help_text="Group to team."
    )
    default_role = serializers.CharField(max_length=64, required=False, allow_blank=True)
    makes_accounts = serializers.BooleanField(required=False)
    vouches_factor = serializers.BooleanField(required=False)
    enabled = serializers.BooleanField(required=False)


class Providers(APIView):
    scopes = {"GET": SCOPE, "POST": SCOPE}
    query = {"GET": Pages.query}

    @extend_schema(responses=ProviderView(many=True), operation_id="providers_list")
    def get(self, request: Request) -> Response:
        """List the providers; those of config/hub.json are not among them."""
        pages = Pages()
        rows = pages.paginate_queryset(Provider.objects.order_by("slug"), request, self) or []
        return pages.get_paginated_response([ProviderView(row).data for row in rows])

    @extend_schema(request=NewProvider, responses={201: ProviderView})
    def post(self, request: Request) -> Response:
        """Add one; needs admin:users too, and every right of the roles that it gives."""
        return Response(_kept(request, Provider()), status=201)


class OneProvider(APIView):
    scopes = {"GET": SCOPE, "PUT": SCOPE, "DELETE": SCOPE}

    @extend_schema(responses=ProviderView, operation_id="providers_retrieve")
    def get(self, request: Request, slug: str) -> Response:
        """Show one."""
        return Response(ProviderView(_provider(slug)).data)

    @extend_schema(request=NewProvider, responses=ProviderView)
    def put(self, request: Request, slug: str) -> Response:
        """Set all of it again; without `client_secret` the one that is there stays."""
        return Response(_kept(request, _provider(slug)))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        """Forget it; accounts stay, and nobody signs in by it any more."""
        providers.remove(_provider(slug), principal_of(request))
        return Response(status=204)


def _provider(slug: str) -> Provider:
    row = Provider.objects.filter(slug=slug).first()
    if row is None:
        raise Http404
    return row


def _kept(request: Request, row: Provider) -> dict[str, Any]:
    wanted = NewProvider(data=request.data)
    wanted.is_valid(raise_exception=True)
    try:
        kept = providers.keep(row, Wanted(**wanted.validated_data), principal_of(request))
    except SignOnFailed as error:
        raise ValidationError({"issuer": [str(error)]}) from error
    return ProviderView(kept).data
