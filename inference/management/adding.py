"""Models on their way into the catalog: add, cancel; their files, looked at again."""

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference import entries, operations
from inference.management import serializers
from inference.management.rows import check_new_name, check_seen, model_of, place, view


class Add(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=serializers.AddRequest, responses={202: serializers.ModelView})
    def post(self, request: Request) -> Response:
        """Add a model. Its files come in the background: watch `state` and `progress`."""
        wanted = serializers.AddRequest(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = cast("dict[str, Any]", dict(wanted.validated_data))
        check_new_name(request, given["name"])
        if "settings" in given:
            given["settings"] = serializers.settings_of(given["settings"])
        named = ("base", "of")  # bases of adapters and variants: what is not seen is not there
        for param in (param for param in named if given.get(param)):
            check_seen(request, [given[param]], param)
        given |= place(request, given)
        row = operations.add(entries.Wanted(**given))
        return Response(view(row, {}), status=202 if row.is_arriving else 201)


class Verify(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=None, responses={202: serializers.ModelView})
    def post(self, request: Request, name: str) -> Response:
        """Hash its files again, in the background: watch `checked_at` and `damage`."""
        row = model_of(request, name)
        operations.verify(row)
        return Response(view(row, {}), status=202)


class Cancel(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=None, responses=serializers.ModelView)
    def post(self, request: Request, name: str) -> Response:
        """Stop adding a model; what was downloaded stays, until the model is removed."""
        return Response(view(entries.cancel(model_of(request, name)), {}))
