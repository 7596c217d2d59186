"""`/api/v1/usage` and `/api/v1/prices`: what was used, by whom and of what, and what it costs."""

import datetime as dt
from typing import Any, cast

from django.http import Http404, HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import limit_rows, prices, usage
from accounts.api.pages import Pages
from accounts.models import Price, Usage
from accounts.permissions import principal_of
from accounts.strict import Strict, StrictQuery
from accounts.usage import Wish

READ, PRICES = "usage:read", "admin:system"
USUAL = dt.timedelta(days=30)
LONGEST = dt.timedelta(days=3660)


class Range(StrictQuery):
    """Which use: of when, of whom, of what."""

    from_ = serializers.DateTimeField(
        required=False, help_text="From this time on; default: 30 days before `to`."
    )
    to = serializers.DateTimeField(required=False, help_text="Before this time; default: now.")
    everyone = serializers.BooleanField(
        default=False,
        help_text="All use instead of one's own: needs the scope usage:all, and shows that of the"
        " teams where it is held.",
    )
    user = serializers.CharField(required=False, max_length=150)
    key = serializers.CharField(required=False, max_length=64, help_text="A key's id.")
    team = serializers.CharField(required=False, max_length=160)
    model = serializers.CharField(required=False, max_length=160)
    adapter = serializers.CharField(required=False, max_length=160)
    alias = serializers.CharField(required=False, max_length=160)
    endpoint = serializers.CharField(required=False, max_length=64)

    def get_fields(self) -> dict[str, Any]:
        """`from` is a word of Python's own."""
        fields = super().get_fields()
        return {name.rstrip("_"): one for name, one in fields.items()}


class Sums(Range):
    group_by = serializers.CharField(
        required=False,
        max_length=100,
        help_text=f"Names with commas: {', '.join(usage.GROUPS)}.",
    )

    def validate_group_by(self, value: str) -> tuple[str, ...]:
        groups = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        if unknown := [name for name in groups if name not in usage.GROUPS]:
            known = ", ".join(usage.GROUPS)
            raise serializers.ValidationError(f"{unknown[0][:50]!r} is none of {known}")
        if set(usage.TIMES) <= set(groups):
            raise serializers.ValidationError("hour or day, not both")
        return groups


class UsageLine(serializers.Serializer[Any]):
    """One line; the names that it was grouped by come with it."""

    requests = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Refused, failed, or left by the client.")
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    audio_s = serializers.FloatField()
    mean_duration_ms = serializers.IntegerField(allow_null=True)
    mean_first_token_ms = serializers.IntegerField(allow_null=True)
    cost = serializers.FloatField()


class UsageRow(serializers.ModelSerializer[Usage]):
    cost = serializers.SerializerMethodField()

    class Meta:
        model = Usage
        exclude = ("id", "cost_nano")

    def get_cost(self, row: Usage) -> float:
        return row.cost_nano / 1e9


class PriceView(serializers.ModelSerializer[Price]):
    class Meta:
        model = Price
        fields = ("model", *prices.KINDS, "updated_at")


class NewPrice(Strict):
    """Of a million tokens. `cached` is for the part of the prompt that was computed before."""

    prompt = serializers.DecimalField(12, 6, min_value=0)
    cached = serializers.DecimalField(12, 6, min_value=0, required=False)
    completion = serializers.DecimalField(12, 6, min_value=0)


RANGE_NAMES = ("from", "to", "everyone", *usage.FILTERS)


class UsageSums(APIView):
    scopes = {"GET": READ}
    query = {"GET": (*RANGE_NAMES, "group_by", *Pages.query)}

    @extend_schema(parameters=[Sums], responses=UsageLine(many=True), operation_id="usage_list")
    def get(self, request: Request) -> Response:
        """Sum up use: own, or everyone's; by user, key, team, model, alias, adapter, endpoint, time."""
        wish, pages = wish_of(request, Sums), Pages()
        found = usage.sums(principal_of(request), wish)
        lines: list[Any] | None = pages.paginate_queryset(found, request, self)
        shown = [usage.line(one, wish.groups) for one in lines or []]
        return pages.get_paginated_response(shown)


class UsageFile(APIView):
    scopes = {"GET": READ}
    query = {"GET": (*RANGE_NAMES, "group_by")}

    @extend_schema(parameters=[Sums], responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """Give the same lines as a CSV file."""
        return csv_file(usage.as_csv(principal_of(request), wish_of(request, Sums)))


class UsageRequests(APIView):
    scopes = {"GET": READ}
    query = {"GET": (*RANGE_NAMES, *Pages.query)}

    @extend_schema(parameters=[Range], responses=UsageRow(many=True), operation_id="usage_requests")
    def get(self, request: Request) -> Response:
        """List single requests, the newest first."""
        pages = Pages()
        who, wish = principal_of(request), wish_of(request, Range)
        rows = pages.paginate_queryset(usage.requests(who, wish), request, self)
        shown = usage.shown(who, wish, rows or [])
        return pages.get_paginated_response([UsageRow(row).data for row in shown])


class Prices(APIView):
    scopes = {"GET": READ}
    query = {"GET": Pages.query}

    @extend_schema(responses=PriceView(many=True), operation_id="prices_list")
    def get(self, request: Request) -> Response:
        """List what a million tokens cost, by model; what is not listed costs nothing."""
        pages = Pages()
        found = Price.objects.exclude(model__in=usage.hidden(principal_of(request)))
        rows = pages.paginate_queryset(found.order_by("model"), request, self)
        return pages.get_paginated_response([PriceView(row).data for row in rows or []])


class OnePrice(APIView):
    scopes = {"PUT": PRICES, "DELETE": PRICES}

    @extend_schema(request=NewPrice, responses=PriceView)
    def put(self, request: Request, model: str) -> Response:
        """Set the prices of a model or adapter, for requests from now on."""
        limit_rows.about(principal_of(request), "model", model)
        wanted = NewPrice(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = cast("dict[str, Any]", wanted.validated_data)
        values.setdefault("cached", values["prompt"])
        return Response(PriceView(prices.put(model, values)).data)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, model: str) -> Response:
        """Let a model cost nothing from now on."""
        if not prices.drop(model):
            raise Http404
        return Response(status=204)


def wish_of(request: Request, kind: type[Range]) -> Wish:
    """Read which use is asked for. Raises: ValidationError."""
    given = {name: value for name, value in request.query_params.items() if name not in Pages.query}
    wanted = kind(data=given)
    wanted.is_valid(raise_exception=True)
    asked = cast("dict[str, Any]", wanted.validated_data)
    until = asked.get("to") or timezone.now()
    since = asked.get("from") or until - USUAL
    if not dt.timedelta() < until - since <= LONGEST:
        raise serializers.ValidationError(
            {"from": ["it must be before `to`, by ten years at most"]}
        )
    filters = {name: asked[name] for name in usage.FILTERS if name in asked}
    return Wish(since, until, asked.get("group_by", ()), asked["everyone"], filters)


def csv_file(text: str, name: str = "usage.csv") -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)
