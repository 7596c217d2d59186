"""`/api/v1/audit`: search the audit log, take it as a file, and have its chain walked."""

from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import audit, exports, verdicts
from accounts.api.pages import Pages
from accounts.models import AuditRow, AuditRows
from accounts.strict import StrictQuery

SCOPE = "admin:audit"
CHUNK_ROWS = 500


class Conditions(StrictQuery):
    who = serializers.CharField(required=False, max_length=150, help_text="A person, or a key.")
    action = serializers.CharField(
        required=False, max_length=64, help_text="`alias.change`, or its family `alias`."
    )
    object_kind = serializers.CharField(required=False, max_length=32)
    text = serializers.CharField(
        required=False, max_length=200, help_text="In names, addresses, before and after."
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class AsFile(Conditions):
    kind = serializers.ChoiceField(choices=sorted(exports.FORMATS), default="ndjson")


class AuditView(serializers.Serializer[AuditRow]):
    seq = serializers.IntegerField()
    at = serializers.DateTimeField()
    action = serializers.CharField()
    outcome = serializers.ChoiceField(choices=AuditRow.Outcome.values)
    times = serializers.IntegerField(help_text="Of the same within a minute.")
    actor_kind = serializers.CharField()
    actor = serializers.CharField()
    key_id = serializers.CharField()
    object_kind = serializers.CharField()
    object_id = serializers.CharField()
    object_name = serializers.CharField()
    before = serializers.JSONField(source="before_values", allow_null=True)
    after = serializers.JSONField(source="after_values", allow_null=True)
    address = serializers.CharField()
    request_id = serializers.CharField()
    previous = serializers.CharField()
    hash = serializers.CharField()


class VerdictView(serializers.Serializer[Any]):
    whole = serializers.BooleanField()
    rows = serializers.IntegerField()
    first = serializers.IntegerField()
    last = serializers.IntegerField()
    head = serializers.CharField()
    fault = serializers.CharField(help_text="The first row that is wrong, and how.")
    checked_at = serializers.DateTimeField()


class Audit(APIView):
    scopes = {"GET": SCOPE}
    query = {"GET": [*Pages.query, *Conditions().fields]}

    @extend_schema(
        parameters=[Conditions], responses=AuditView(many=True), operation_id="audit_list"
    )
    def get(self, request: Request) -> Response:
        """List what was done, newest first; every condition narrows."""
        pages = Pages()
        rows = pages.paginate_queryset(_found(request, Conditions), request, self) or []
        return pages.get_paginated_response([AuditView(row).data for row in rows])


class Export(APIView):
    scopes = {"GET": SCOPE}
    query = {"GET": [*AsFile().fields]}

    @extend_schema(
        parameters=[AsFile],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Give the same as a file, oldest first; the headers name the log's last row."""
        rows = _found(request, AsFile)
        kind = request.query_params.get("kind", "ndjson")
        audit.record("audit.export", "audit", kind)
        return file_of(rows, kind)


class Verify(APIView):
    scopes = {"POST": SCOPE}

    @extend_schema(request=None, responses=VerdictView)
    def post(self, _request: Request) -> Response:
        """Walk the whole chain now, and name the first row that is wrong."""
        found = verdicts.look()
        return Response(VerdictView(found).data)


def file_of(rows: AuditRows, kind: str) -> StreamingHttpResponse:
    """Stream rows, a chunk at a time, up to the last one that there is now."""
    last = AuditRow.objects.order_by("-seq").first()
    end, head = (last.seq, last.hash) if last else (0, "")
    how = exports.FORMATS[kind]
    headers = {
        "Content-Disposition": f'attachment; filename="audit.{kind}"',
        "Content-Encoding": "identity",
        "X-Audit-Last": str(end),
        "X-Audit-Head": head,
    }

    async def stream() -> AsyncIterator[str]:
        yield how.head
        place = 0
        while chunk := await sync_to_async(_chunk)(rows, place, end):
            yield "".join(map(how.line, chunk))
            place = chunk[-1]["seq"]

    return StreamingHttpResponse(stream(), content_type=how.content_type, headers=headers)


def _chunk(rows: AuditRows, after: int, end: int) -> list[dict[str, Any]]:
    found = rows.filter(seq__gt=after, seq__lte=end).order_by("seq")[:CHUNK_ROWS]
    return [audit.as_row(row) for row in found]


def _found(request: Request, conditions: type[Conditions]) -> AuditRows:
    """Raises: ValidationError."""
    names = conditions().fields
    given = {name: text for name, text in request.query_params.items() if name in names}
    wanted = conditions(data=given)
    wanted.is_valid(raise_exception=True)
    asked = {name: value for name, value in wanted.validated_data.items() if name != "kind"}
    return AuditRow.objects.search(**asked)
