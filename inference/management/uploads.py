"""`/api/v1/uploads`: model files in parts, for browsers and scripts."""

from collections.abc import Mapping
from typing import IO, Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import principal_of
from accounts.strict import Strict
from inference import tasks, uploads
from inference.errors import InvalidValue, RequestTooLarge
from inference.management.rows import check_new_name, check_seen, place, view
from inference.management.serializers import ModelView, Ownership
from inference.models import Upload

DIGEST_HEADER = "X-Part-SHA256"


class PartParser(BaseParser):
    """The bytes of one part, and not one more."""

    media_type = "application/octet-stream"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, bytes]:
        """Raises: RequestTooLarge."""
        data: bytes = stream.read(uploads.PART_BYTES + 1)
        if len(data) > uploads.PART_BYTES:
            raise RequestTooLarge(f"a part has at most {uploads.PART_BYTES} bytes")
        return {"part": data}


class File(Strict):
    path = serializers.CharField(
        max_length=512, trim_whitespace=False, help_text="Its name inside the model's folder."
    )
    size_bytes = serializers.IntegerField(min_value=1, max_value=uploads.MAX_FILE_BYTES)
    sha256 = serializers.RegexField(
        uploads.DIGEST, required=False, help_text="Of the whole file; checked at the end."
    )


class NewUpload(Ownership):
    name = serializers.CharField(max_length=128)
    files = File(many=True)
    base = serializers.CharField(max_length=128, required=False, help_text="For an adapter.")
    tags = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=32, required=False
    )


class UploadView(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    part_bytes = serializers.IntegerField(help_text="Of every part but the last of a file.")
    files = File(many=True)
    missing = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()),
        help_text="For each file, the numbers of the parts that are not there.",
    )


class Uploads(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=NewUpload, responses={201: UploadView})
    def post(self, request: Request) -> Response:
        """Begin an upload: say which files will come."""
        wanted = NewUpload(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        check_new_name(request, given["name"])
        given["files"] = [dict(file) for file in given["files"]]
        if given.get("base"):
            check_seen(request, [given["base"]], "base")
        given |= place(request, given)
        upload = uploads.begin(owner_id=principal_of(request).user_id, **given)
        return Response(_view(upload), status=201)


class OneUpload(APIView):
    scopes = {"GET": "models:write", "DELETE": "models:write"}

    @extend_schema(responses=UploadView)
    def get(self, request: Request, key: str) -> Response:
        """Say what is missing, to go on after a break."""
        return Response(_view(_upload(request, key)))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, key: str) -> Response:
        """Give it up."""
        uploads.abandon(_upload(request, key))
        return Response(status=204)


class Resume(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=None, responses=UploadView)
    def post(self, request: Request, key: str) -> Response:
        """Go on with an upload that was stopped or broke: what came is kept."""
        upload = _upload(request, key)
        uploads.reopen(upload)
        return Response(_view(upload))


class Part(APIView):
    scopes = {"PUT": "models:write"}
    parser_classes = [PartParser]

    @extend_schema(
        request={"application/octet-stream": OpenApiTypes.BINARY},
        parameters=[OpenApiParameter(DIGEST_HEADER, str, OpenApiParameter.HEADER, required=True)],
        responses={204: None},
    )
    def put(self, request: Request, key: str, file: int, number: int) -> Response:
        """Send one part, with its SHA-256 in hexadecimal."""
        upload = _upload(request, key)
        digest = request.headers.get(DIGEST_HEADER, "")
        if not uploads.DIGEST.fullmatch(digest):
            raise InvalidValue(f"the header {DIGEST_HEADER} is missing", param="sha256")
        data = cast("dict[str, bytes]", request.data)["part"]
        uploads.put(upload, file, number, data, digest)
        return Response(status=204)


class Complete(APIView):
    scopes = {"POST": "models:write"}

    @extend_schema(request=None, responses={202: ModelView})
    def post(self, request: Request, key: str) -> Response:
        """All parts are there: inspect the files and let the model be served."""
        row = uploads.complete(_upload(request, key))
        tasks.enqueue_arrival(row.pk)
        return Response(view(row, {}), status=202)


def _upload(request: Request, key: str) -> Upload:
    return uploads.find(key, principal_of(request).user_id)


def _view(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.pk,
        "name": upload.model.name,
        "part_bytes": uploads.PART_BYTES,
        "files": upload.files,
        "missing": uploads.missing(upload),
    }
