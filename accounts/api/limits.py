"""`/api/v1/limits`: how much a key, a user, a team, a model or everyone may ask for, edited live."""

from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import limit_rows, quota
from accounts.api.pages import Pages
from accounts.limit_rows import FIELDS, MOST, About
from accounts.permissions import ANYONE, principal_of
from accounts.strict import Strict

EDIT = limit_rows.SCOPE


class Limits(Strict):
    """Null: what is given to everyone; 0: no limit of this kind."""

    requests_per_minute = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MOST
    )
    tokens_per_hour = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MOST
    )
    concurrent_requests = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MOST
    )
    storage_bytes = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MOST
    )
    training_minutes = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=MOST, help_text="In 30 days."
    )


class LimitView(Limits):
    kind = serializers.ChoiceField(choices=limit_rows.SUBJECT_KINDS)
    name = serializers.CharField(help_text="A key's id, a user's, team's or model's name.")


class Holds(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=limit_rows.SUBJECT_KINDS)
    requests_per_minute = serializers.IntegerField()
    tokens_per_hour = serializers.IntegerField()
    concurrent_requests = serializers.IntegerField()


class AllLimits(APIView):
    scopes = {"GET": EDIT}
    query = {"GET": Pages.query}

    @extend_schema(responses=LimitView(many=True), operation_id="limits_list")
    def get(self, request: Request) -> Response:
        """List the limits that were set; whoever is not listed has everyone's."""
        pages = Pages()
        rows = pages.paginate_queryset(limit_rows.listing(), request, self)
        return pages.get_paginated_response([_shown(*row) for row in cast("list[Any]", rows or [])])


class OwnLimits(APIView):
    scopes = {"GET": ANYONE}

    @extend_schema(responses=Holds(many=True), operation_id="limits_own")
    def get(self, request: Request) -> Response:
        """Say which limits hold for this caller; the tightest counts. 0: none of this kind."""
        quota.refresh_now()
        subjects = quota.subjects_of(principal_of(request))
        return Response(
            [
                {
                    "kind": one.name.partition(":")[0],
                    **{kind: getattr(one.quota, kind) for kind in quota.KINDS},
                }
                for one in subjects
            ]
        )


class OneLimit(APIView):
    scopes = {"GET": EDIT, "PATCH": EDIT, "DELETE": EDIT}

    @extend_schema(responses=LimitView)
    def get(self, request: Request, kind: str, name: str = "") -> Response:
        """Show what is set for one of them."""
        one = limit_rows.about(principal_of(request), kind, name)
        return Response(_shown(one, limit_rows.of(one.subject)))

    @extend_schema(request=Limits, responses=LimitView)
    def patch(self, request: Request, kind: str, name: str = "") -> Response:
        """Set what is named; it holds on every process within two seconds."""
        one = limit_rows.about(principal_of(request), kind, name)
        wanted = Limits(data=request.data)
        wanted.is_valid(raise_exception=True)
        return Response(_shown(one, limit_rows.put(one, wanted.validated_data)))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, kind: str, name: str = "") -> Response:
        """Forget what is set: everyone's limits hold again."""
        limit_rows.drop(limit_rows.about(principal_of(request), kind, name))
        return Response(status=204)


def _shown(one: About, values: dict[str, int | None]) -> dict[str, Any]:
    return {"kind": one.kind, "name": one.name, **{name: values[name] for name in FIELDS}}
