"""Finding a model to add: a search in the model hub, and what another server serves."""

from dataclasses import asdict

from asgiref.sync import async_to_sync
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from inference import hub_search, hubs, router, sight, upstreams, wire
from inference.downloads import DownloadFailed
from inference.errors import InvalidValue, LoadFailed, NodeUnavailable, Unavailable
from inference.management import serializers


class Search(APIView):
    scopes = {"GET": "models:write"}
    query = {"GET": [*serializers.Search().fields]}

    @extend_schema(
        parameters=[serializers.Search],
        responses=serializers.Hit(many=True),
        operation_id="models_search",
    )
    def get(self, request: Request) -> Response:
        """Search the model hub by name: at most 20, the most downloaded first."""
        wanted = serializers.Search(data=request.query_params.dict())
        wanted.is_valid(raise_exception=True)
        try:
            state = sight.snapshot(_state(), principal_of(request))
            hits = hub_search.search(hubs.configured(), wanted.validated_data["q"], state)
        except DownloadFailed as error:
            raise Unavailable(str(error)) from error
        return Response([asdict(hit) for hit in hits])


class Upstream(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(
        request=serializers.Upstream, responses=serializers.Served, operation_id="models_upstream"
    )
    def post(self, request: Request) -> Response:
        """Ask an OpenAI-compatible server for its models, with a key that is not kept."""
        wanted = serializers.Upstream(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = wanted.validated_data
        try:
            return Response({"models": upstreams.models(given["base_url"], given["api_key"])})
        except LoadFailed as error:  # the caller named the server
            raise InvalidValue(error.message, param="base_url") from error


def _state() -> wire.Snapshot | None:
    """Ask the node; None while it is away."""
    try:
        return async_to_sync(router.snapshot)()
    except NodeUnavailable:
        return None
