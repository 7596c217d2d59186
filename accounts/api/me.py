"""`/api/v1/me`: say who asks."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Team
from accounts.permissions import ANYONE, principal_of


class Me(serializers.Serializer[Any]):
    username = serializers.CharField()
    role = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    key = serializers.CharField(allow_null=True, help_text="The key's id; null for a session.")
    models = serializers.ListField(child=serializers.CharField(), allow_null=True)
    teams = serializers.ListField(child=serializers.CharField())


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
                "teams": [*Team.objects.filter(pk__in=who.teams).values_list("name", flat=True)],
            }
        )
