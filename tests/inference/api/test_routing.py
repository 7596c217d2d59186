"""Paths under /v1 lead to their handlers, with the values of their parameters."""

import pytest

from inference.api.call import Call
from inference.api.routing import Action, Route, Table


async def nothing(call: Call) -> None:
    raise AssertionError(call)


def route(path: str, *methods: str) -> Route:
    return Route(path, {method: Action("files:read", nothing) for method in methods})


TABLE = Table(
    route("/v1/files", "GET", "POST"),
    route("/v1/files/{file_id}", "GET", "DELETE"),
    route("/v1/files/{file_id}/content", "GET"),
    route("/v1/models/{model*}", "GET"),
)


@pytest.mark.parametrize(
    ("path", "found", "args"),
    [
        ("/v1/files", "/v1/files", {}),
        ("/v1/files/file-1", "/v1/files/{file_id}", {"file_id": "file-1"}),
        ("/v1/files/file-1/content", "/v1/files/{file_id}/content", {"file_id": "file-1"}),
        ("/v1/models/a/b", "/v1/models/{model*}", {"model": "a/b"}),
        ("/v1/models/ft:a:b::c", "/v1/models/{model*}", {"model": "ft:a:b::c"}),
    ],
)
def test_it_finds(path: str, found: str, args: dict[str, str]) -> None:
    assert TABLE.find(path) is not None
    assert TABLE.find(path) == (next(route for route in TABLE if route.path == found), args)


@pytest.mark.parametrize(
    "path", ["/v1/files/", "/v1/files//content", "/v1/files/a/b", "/v1/models/", "/v1/filesx", "/"]
)
def test_it_finds_nothing_else(path: str) -> None:
    assert TABLE.find(path) is None


def test_a_path_that_is_added_again_is_replaced() -> None:
    table = Table(*TABLE)
    table.add(route("/v1/files/{file_id}", "GET"), route("/v1/files", "GET"))
    assert len(list(table)) == len(list(TABLE))
    found = table.find("/v1/files/x")
    assert found is not None
    assert list(found.route.actions) == ["GET"]


def test_labels_and_methods_are_told() -> None:
    first = route("/v1/files/{file_id}/content", "GET")
    assert first.label == "files/file_id/content"
    assert first.allowed == ("GET", "HEAD", "OPTIONS")
