"""`/api/v1/datasets`: made of files or text, listed, shown with what is wrong in them, removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.pages import Pages
from accounts.permissions import principal_of
from inference.errors import InvalidValue, MissingParameter, PermissionDenied
from inference.openai.files import file_name
from training import files, sets, shelf, store
from training.management import shown
from training.models import DataSet, DataSetVersion

READ, WRITE = "datasets:read", "datasets:write"


class DataSetList(APIView):
    scopes = {"GET": READ, "POST": WRITE}
    query = {"GET": [*Pages.query, *shown.Filter().fields]}

    @extend_schema(
        parameters=[shown.Filter],
        responses=shown.DataSetView(many=True),
        operation_id="datasets_list",
    )
    def get(self, request: Request) -> Response:
        """List data sets, each with its newest version."""
        wanted = _filtered(shown.Filter, request)
        rows = sets.visible(principal_of(request)).select_related("team")
        if text := wanted.get("search"):
            rows = rows.filter(name__icontains=text)
        pages = Pages()
        found = pages.paginate_queryset(rows.prefetch_related("versions"), request, self) or []
        return pages.get_paginated_response([shown.data_set(row) for row in found])

    @extend_schema(request=shown.NewDataSet, responses={202: shown.DataSetView})
    def post(self, request: Request) -> Response:
        """Make a data set of a file or of text; its check goes on in the background."""
        given = _given(shown.NewDataSet, request)
        own = {name: given.pop(name) for name in ("name", "description", "visibility")}
        with _wanted(request, given) as wanted:
            made = sets.create(principal_of(request), wanted=wanted, **own)
        return Response(shown.data_set(made.data_set), status=202)


class OneDataSet(APIView):
    scopes = {"GET": READ, "DELETE": WRITE}

    @extend_schema(responses=shown.DataSetView, operation_id="datasets_retrieve")
    def get(self, request: Request, key: str) -> Response:
        """Show one."""
        return Response(shown.data_set(_data_set(request, key)))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, key: str) -> Response:
        """Remove it with all its versions; the uploaded files stay. 409 while a job uses one."""
        sets.remove(principal_of(request), _data_set(request, key))
        return Response(status=204)


class Versions(APIView):
    scopes = {"GET": READ, "POST": WRITE}
    query = {"GET": Pages.query}

    @extend_schema(responses=shown.VersionView(many=True), operation_id="dataset_versions_list")
    def get(self, request: Request, key: str) -> Response:
        """List the versions, the newest first."""
        pages, rows = Pages(), _data_set(request, key).versions.all()
        found = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([shown.version(row) for row in found])

    @extend_schema(request=shown.NewVersion, responses={202: shown.VersionView})
    def post(self, request: Request, key: str) -> Response:
        """Add a version; just the same as one before gives that one."""
        data_set = _data_set(request, key)
        with _wanted(request, _given(shown.NewVersion, request)) as wanted:
            made = sets.add_version(principal_of(request), data_set, wanted)
        return Response(shown.version(made), status=202)


class OneVersion(APIView):
    scopes = {"GET": READ}

    @extend_schema(responses=shown.ReportView, operation_id="dataset_version_retrieve")
    def get(self, request: Request, key: str, number: int) -> Response:
        """Show a version with the report of its check."""
        return Response(shown.whole(_version(request, key, number)))


class Findings(APIView):
    scopes = {"GET": READ}
    query = {"GET": [*Pages.query, *shown.FindingFilter().fields]}

    @extend_schema(parameters=[shown.FindingFilter], responses=shown.FindingView(many=True))
    def get(self, request: Request, key: str, number: int) -> Response:
        """List findings by line: of each kind the first 200, the report counts all."""
        wanted = _filtered(shown.FindingFilter, request)
        report = shelf.report(_version(request, key, number).pk)
        rows = [
            found
            for found in (report.findings if report else [])
            if all(getattr(found, name) == value for name, value in wanted.items())
        ]
        pages = Pages()
        page = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([shown.finding(found) for found in page])


class Withdraw(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=None, responses=shown.VersionView)
    def post(self, request: Request, key: str, number: int) -> Response:
        """Let nothing new be trained on a version; what was trained keeps its lineage."""
        version = _version(request, key, number)
        return Response(shown.version(sets.withdraw(principal_of(request), version)))


def _data_set(request: Request, key: str) -> DataSet:
    """Raises: NotFound."""
    return sets.find(key, principal_of(request))


def _version(request: Request, key: str, number: int) -> DataSetVersion:
    """Raises: NotFound."""
    return sets.find_version(_data_set(request, key), number)


def _given(kind: type[shown.NewVersion], request: Request) -> dict[str, Any]:
    wanted = kind(data=request.data)
    wanted.is_valid(raise_exception=True)
    return dict(wanted.validated_data)


def _filtered(
    kind: type[shown.Filter] | type[shown.FindingFilter], request: Request
) -> dict[str, Any]:
    known = kind().fields
    wanted = kind(data={k: v for k, v in request.query_params.items() if k in known})
    wanted.is_valid(raise_exception=True)
    return dict(wanted.validated_data)


@contextmanager
def _wanted(request: Request, given: dict[str, Any]) -> Iterator[sets.Wanted]:
    """Text is a file for as long as the block does not refuse it.

    Raises: MissingParameter, InvalidValue, PermissionDenied, RateLimited.
    """
    text, name = given.pop("text", None), given.pop("filename")
    if text is None:
        if "file_id" not in given:
            raise MissingParameter("Give the rows as `file_id` or as `text`.", param="file_id")
        yield sets.Wanted(**given)
        return
    if "file_id" in given:
        raise InvalidValue("Give `file_id` or `text`, not both.", param="text")
    file_id = _pasted(request, text, name)
    try:
        yield sets.Wanted(file_id=file_id, **given)
    except BaseException:
        files.remove(file_id, principal_of(request))
        raise


def _pasted(request: Request, text: str, name: str) -> str:
    """Keep text as a file, and give its id."""
    who = principal_of(request)
    if not who.allows("files:write"):
        raise PermissionDenied("Text becomes a file: this needs the scope files:write.")
    with store.Incoming() as incoming:
        incoming.write(text.encode())
        return files.take(incoming, who, file_name(name), "fine-tune").pk
