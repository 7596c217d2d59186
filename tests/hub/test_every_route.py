"""Every route refuses whoever shows no credentials, but for an explicit list."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from inference.api import app as api

# What anybody may ask: is it alive, is it ready, the way in, the language.
OPEN = {
    ("GET", "healthz"),
    ("GET", "readyz"),
    ("GET", "login/"),
    ("POST", "login/"),
    ("GET", "setup/<str:token>/"),
    ("POST", "setup/<str:token>/"),
    ("POST", "language/"),
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
EXAMPLES = {"slug": "some-name", "str": "something", "path": "some/thing", "int": "1"}


def routes() -> Iterator[str]:
    yield from _routes(get_resolver().url_patterns, "")


def _routes(patterns: list[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        else:
            yield route


def example(route: str) -> str:
    filled = re.sub(r"<(?:(\w+):)?\w+>", lambda found: EXAMPLES[found[1] or "str"], route)
    return "/" + filled.replace("^", "").replace("$", "")


def allowed(method: str, route: str) -> bool:
    """HEAD is GET without a body."""
    return ("GET" if method == "HEAD" else method, route) in OPEN


@pytest.mark.django_db
@pytest.mark.parametrize("route", sorted(set(routes())))
def test_it_refuses_without_credentials(route: str) -> None:
    client = Client(enforce_csrf_checks=True)
    for method in METHODS:
        if allowed(method, route):
            continue
        answer = client.generic(method, example(route))
        sent_to_login = answer.status_code == 302 and answer["location"].startswith("/login/")
        assert sent_to_login or answer.status_code in {401, 403, 404, 405}, (method, route)


def test_it_lists_no_open_route_that_is_gone() -> None:
    assert {route for _, route in OPEN} <= set(routes())


@pytest.mark.parametrize("path", [*api.ROUTES, "/v1/models/x", "/v1/no/such/route"])
async def test_it_refuses_every_call_without_a_key(path: str) -> None:
    for method in METHODS:
        if method != "OPTIONS":  # browsers ask it before they send the key
            assert await _status(method, path) == 401, method


async def _status(method: str, path: str) -> int:
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        raise AssertionError("the body was read before the key was checked")

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "request_id": "req_1",
        "state": {},
    }
    await api.application(scope, receive, send)
    status = sent[0]["status"]
    assert isinstance(status, int)
    return status
