"""`/api/v1/applications`: applications of others (OAuth2). A secret is shown once, at the start."""

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import applications
from accounts.api.pages import Pages
from accounts.applications import AppRefused, Wanted
from accounts.models import Application, User
from accounts.permissions import principal_of
from accounts.strict import Strict

SCOPE = "keys:write"


class AppView(serializers.ModelSerializer[Application]):
    redirect_uris = serializers.SerializerMethodField()
    owner = serializers.CharField(source="user.username", allow_null=True, default=None)
    service = serializers.CharField(source="service.username", allow_null=True, default=None)
    is_public = serializers.SerializerMethodField()

    class Meta:
        model = Application
        fields = ("client_id", "name", "owner", "service", "scopes", "redirect_uris", "is_public", "created")  # fmt: skip

    def get_redirect_uris(self, app: Application) -> list[str]:
        return list(app.redirect_uris.split())

    def get_is_public(self, app: Application) -> bool:
        return bool(app.client_type == Application.CLIENT_PUBLIC)


class MadeApp(AppView):
    client_secret = serializers.CharField(help_text="Shown this one time; empty: it has none.")

    class Meta(AppView.Meta):
        fields = (*AppView.Meta.fields, "client_secret")  # type: ignore[assignment]


class NewApp(Strict):
    name = serializers.CharField(max_length=applications.NAME_CHARS)
    scopes = serializers.ListField(child=serializers.CharField(max_length=64), max_length=100)
    redirect_uris = serializers.ListField(
        child=serializers.CharField(max_length=500), max_length=applications.MOST_URIS, default=[]
    )
    is_public = serializers.BooleanField(
        default=False, help_text="A program that can keep no secret."
    )
    service = serializers.CharField(
        max_length=150,
        required=False,
        help_text="The service account that it acts as, by client credentials (admin:users).",
    )


class Applications(APIView):
    scopes = {"GET": SCOPE, "POST": SCOPE}
    query = {"GET": Pages.query}

    @extend_schema(responses=AppView(many=True), operation_id="applications_list")
    def get(self, request: Request) -> Response:
        """List one's own, or all with admin:system and admin:audit."""
        pages = Pages()
        found = applications.listing(principal_of(request)).order_by("pk")
        rows = pages.paginate_queryset(found, request, self) or []
        return pages.get_paginated_response([AppView(row).data for row in rows])

    @extend_schema(request=NewApp, responses={201: MadeApp})
    def post(self, request: Request) -> Response:
        """Register one; its secret is in this answer and nowhere else."""
        asked = NewApp(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        name = given.pop("service", None)
        who = principal_of(request)
        wanted = Wanted(**given, service=None if name is None else _service(name))
        app, secret = applications.register(wanted, who)
        return Response({**AppView(app).data, "client_secret": secret}, status=201)


class OneApplication(APIView):
    scopes = {"GET": SCOPE, "DELETE": SCOPE}

    @extend_schema(responses=AppView, operation_id="applications_retrieve")
    def get(self, request: Request, client_id: str) -> Response:
        """Show one."""
        return Response(AppView(_app(request, client_id)).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, client_id: str) -> Response:
        """End it with every token of it, within 2 s."""
        applications.remove(_app(request, client_id))
        return Response(status=204)


def _app(request: Request, client_id: str) -> Application:
    row = applications.listing(principal_of(request)).filter(client_id=client_id).first()
    if row is None:
        raise Http404
    return row


def _service(name: str) -> User:
    """Raises: AppRefused."""
    found = User.objects.filter(kind=User.Kind.SERVICE, is_active=True, username=name).first()
    if found is None:
        raise AppRefused("There is no such service account.", "service")
    return found
