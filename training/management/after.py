"""After a job: `/api/v1/training/jobs/{id}/promote`, `rollback`, `export`, `exports/{kind}`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from accounts.strict import Strict
from inference import aliases
from inference.models import Alias
from training import archive, exports, jobs, promotions
from training.management import shown_jobs
from training.models import Export

READ, WRITE = "training:read", "training:write"


class NewPromotion(Strict):
    alias = serializers.CharField(max_length=128, help_text="Made where there is none.")
    percent = serializers.FloatField(
        min_value=0.01, max_value=100, default=100.0, help_text="Below 100: a canary."
    )
    force = serializers.BooleanField(default=False, help_text="Pass a gate that did not pass.")


class Taken(Strict):
    alias = serializers.CharField(max_length=128)


class Share(serializers.Serializer[Any]):
    model = serializers.CharField()
    weight = serializers.FloatField()


class Route(serializers.Serializer[Any]):
    alias = serializers.CharField()
    targets = Share(many=True)


class NewExport(Strict):
    kind = serializers.ChoiceField(choices=Export.Kind.choices)


class Promote(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=NewPromotion, responses=Route)
    def post(self, request: Request, key: str) -> Response:
        """Lead an alias to its model, or a share of the alias's requests."""
        who = principal_of(request)
        job = jobs.find(key, who)
        wanted = promotions.Wanted(**_given(NewPromotion, request))
        return Response(_route(promotions.promote(job, wanted, who)))


class RollBack(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=Taken, responses=Route)
    def post(self, request: Request, key: str) -> Response:
        """Take its model out of an alias; who answered before does again."""
        who = principal_of(request)
        job = jobs.find(key, who)
        name = _given(Taken, request)["alias"]
        return Response(_route(promotions.roll_back(job, name, who)))


class MakeExport(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=NewExport, responses={202: shown_jobs.ExportView})
    def post(self, request: Request, key: str) -> Response:
        """Make its result in another form, in the background; it is compared with the original."""
        who = principal_of(request)
        job = jobs.find(key, who)
        row = exports.ask(job, _given(NewExport, request)["kind"], who)
        return Response(shown_jobs.ExportView(row).data, 202)


class Download(APIView):
    scopes = {"GET": READ, "DELETE": WRITE}

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    def get(self, request: Request, key: str, kind: str) -> StreamingHttpResponse:
        """Download an export: a GGUF file as it is, the others as a tar."""
        job = jobs.find(key, principal_of(request))
        row = exports.find(job, kind)
        name, size_bytes, blocks = _bytes_of(row)
        headers = {
            "Content-Length": str(size_bytes),
            "Content-Disposition": f'attachment; filename="{name}"',
        }
        return StreamingHttpResponse(_stream(blocks), "application/octet-stream", headers=headers)

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, key: str, kind: str) -> Response:
        """Remove an export; its bytes no longer count. It can be made again."""
        who = principal_of(request)
        exports.remove(jobs.find(key, who), kind, who)
        return Response(status=204)


def _given(kind: type[Strict], request: Request) -> dict[str, Any]:
    given = kind(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _route(alias: Alias) -> dict[str, Any]:
    return {"alias": alias.name, "targets": aliases.shown_targets(alias)}


def _bytes_of(row: Export) -> tuple[str, int, Iterator[bytes]]:
    name = f"{row.job_id}-{row.kind}"
    if row.kind == Export.Kind.GGUF:
        (file,) = row.folder().glob("*.gguf")
        return f"{name}.gguf", file.stat().st_size, archive.pieces(file)
    found = archive.Archive(row.folder(), name)
    return f"{name}.tar", found.size_bytes, found.blocks()


async def _stream(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(next, blocks, b""):
        yield block
