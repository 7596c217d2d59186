"""`/api/v1/secrets`: secrets that the hub uses towards others; set and forgotten, never shown."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.strict import Strict
from inference import vault


class SecretView(serializers.Serializer[Any]):
    name = serializers.CharField()
    help = serializers.CharField()
    is_set = serializers.BooleanField()


class Value(Strict):
    value = serializers.CharField(max_length=vault.MAX_CHARS, write_only=True)


class Secrets(APIView):
    scopes = {"GET": "admin:system"}

    @extend_schema(responses=SecretView(many=True), operation_id="secrets_list")
    def get(self, _request: Request) -> Response:
        """List the secrets that there can be, and which are set."""
        known = vault.known()
        return Response(
            [{"name": n, "help": text, "is_set": n in known} for n, text in vault.NAMES.items()]
        )


class OneSecret(APIView):
    scopes = {"PUT": "admin:system", "DELETE": "admin:system"}

    @extend_schema(request=Value, responses={204: None})
    def put(self, request: Request, name: str) -> Response:
        """Keep a secret, encrypted. No call gives it back."""
        wanted = Value(data=request.data)
        wanted.is_valid(raise_exception=True)
        vault.put(_known(name), wanted.validated_data["value"])
        return Response(status=204)

    @extend_schema(request=None, responses={204: None})
    def delete(self, _request: Request, name: str) -> Response:
        """Forget a secret."""
        vault.put(_known(name), "")
        return Response(status=204)


def _known(name: str) -> str:
    if name not in vault.NAMES:
        raise Http404
    return name
