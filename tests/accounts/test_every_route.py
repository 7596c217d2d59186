"""Deny by default: every route and method without credentials, against an explicit allow-list."""

import re
from collections.abc import Iterator, Sequence

import httpx
import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from hub.asgi import application
from hub.dashboard.routing import websocket_urlpatterns
from inference.api.app import ROUTES
from tests.accounts.conftest import PASSWORD, MakeUser

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
SAMPLES = {"int": "1", "slug": "x", "str": "x", "path": "x/y", "uuid": "0" * 32}

# Whoever adds a line here opens a door to everybody: say why.
OPEN = {
    "/healthz": {"GET"},  # an orchestrator asks; tells only that the loop turns
    "/readyz": {"GET"},  # an orchestrator asks; tells names and states of parts
    "/login/": {"GET", "POST"},  # where credentials are shown
    "/login/second/": {"GET", "POST"},  # asks who has shown the password; leads others to /login/
    "/login/enrol/": {"GET", "POST"},  # the same, for those whose role asks for a factor
    "/api/v1/auth/token": {"POST"},  # takes a password with its code, or a key
    "/api/v1/auth/refresh": {"POST"},  # takes a refresh token
    "/api/v1/auth/revoke": {"POST"},  # takes a refresh token; says the same of a wrong one
    "/login/with/x/": {"GET"},  # leads to a provider; 404 for an unknown one
    "/login/with/x/back/": {"GET"},  # takes an answer that this browser began
    "/login/passkey/begin/": {"POST"},  # gives a challenge
    "/login/passkey/": {"POST"},  # takes a passkey
    "/oauth/token/": {"POST"},  # takes a code with its verifier, or a client's secret
    "/oauth/revoke/": {"POST"},  # takes a client's secret
    "/oauth/introspect/": {"POST"},  # takes a client's secret
    "/.well-known/oauth-authorization-server": {"GET"},  # where these lie; nothing of this hub
    "/logout/": {"POST"},  # ends a session; changes nothing for others
    "/language/": {"GET", "POST"},  # sets a cookie of the visitor's own; GET only leads back
    "/setup/x/": {"GET", "POST"},  # asks for a one-time token of its own
}
V1_ROUTES = [re.sub(r"\{\w+\*?\}", "x", route.path) for route in ROUTES]
V1_PATHS = [*V1_ROUTES, "/v1/models/a/b", "/v1/unknown"]  # /v1 itself only says so


def paths(
    patterns: Sequence[URLPattern | URLResolver], prefix: str = "/"
) -> Iterator[tuple[str, URLPattern]]:
    for entry in patterns:
        assert isinstance(entry.pattern, RoutePattern), f"write {entry} with path()"
        path = prefix + str(entry.pattern)
        for name, converter in entry.pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower()
            path = path.replace(
                f"<{kind.replace('string', 'str')}:{name}>", SAMPLES[kind.replace("string", "str")]
            )
        if isinstance(entry, URLResolver):
            yield from paths(entry.url_patterns, path)
        else:
            yield path, entry


DJANGO_PATHS = [path for path, _ in paths(get_resolver().url_patterns)]
CLOSED = [path for path in DJANGO_PATHS if path not in OPEN]


def test_it_finds_the_routes() -> None:
    assert {"/", "/keys/", "/api/v1/keys", "/api/v1/models/x/y/load"} <= set(DJANGO_PATHS)
    assert len(DJANGO_PATHS) == len(set(DJANGO_PATHS))
    assert len(V1_ROUTES) >= 5


def test_the_allow_list_names_only_what_is_there() -> None:
    assert set(OPEN) <= set(DJANGO_PATHS)


@pytest.mark.django_db
@pytest.mark.parametrize("path", DJANGO_PATHS)
def test_it_refuses_every_method(path: str) -> None:
    """405 tells nothing either, but a method that is answered must ask who it is."""
    opened = {"HEAD"} | OPEN[path] if "GET" in OPEN.get(path, ()) else OPEN.get(path, set())
    answers = {method: Client().generic(method, path) for method in METHODS if method not in opened}
    for method, answer in answers.items():
        to_login = answer.status_code == 302 and answer["Location"].startswith("/login/?")
        assert to_login or answer.status_code in {401, 405}, (method, answer.status_code)
    assert path in OPEN or {answer.status_code for answer in answers.values()} != {405}


@pytest.mark.django_db
@pytest.mark.parametrize("path", CLOSED)
def test_a_wrong_credential_is_no_better_than_none(path: str) -> None:
    for headers in (
        {"authorization": "Bearer hub_x"},
        {"x-api-key": "x"},
        {"cookie": "sessionid=x"},
    ):
        response = Client(headers=headers).get(path)
        assert response.status_code in {302, 401}
        assert response.status_code == 401 or response["Location"].startswith("/login/?")


@pytest.mark.parametrize("path", V1_PATHS)
async def test_v1_refuses_every_method(path: str) -> None:
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type] # scopes are plain dicts
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        for method in METHODS:
            response = await client.request(method, path)
            if method == "OPTIONS":  # browsers ask without credentials; it does and tells nothing
                assert response.status_code == 204
                assert not response.content
                continue
            assert response.status_code == 401, method
            if method != "HEAD":
                assert response.json()["error"]["code"] == "invalid_api_key"


def socket_paths() -> list[str]:
    return [path for path, _ in paths(websocket_urlpatterns)]


async def connects(path: str, headers: list[tuple[bytes, bytes]]) -> bool:
    socket = WebsocketCommunicator(application, path, [(b"host", b"testserver"), *headers])
    try:
        connected, _ = await socket.connect()
    finally:
        await socket.disconnect()
    return bool(connected)


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/live", "/ws/live/x/", "/v1/chat/completions"])
async def test_a_socket_without_a_route_is_closed(path: str) -> None:
    assert not await connects(path, [(b"origin", b"http://testserver")])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/nothing"),
        ("GET", "/api/v1"),
        ("POST", "/api/v1/nothing"),
        ("GET", "/api/v1/keys/%00"),
        ("PUT", "/api/v1/uploads/a/b/c"),
    ],
)
def test_an_address_without_a_route_is_told_in_the_envelope(
    method: str, path: str, client: Client
) -> None:
    answer = client.generic(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.django_db
def test_a_page_without_a_route_stays_a_page(client: Client) -> None:
    answer = client.get("/apis/nothing")
    assert answer.status_code == 404
    assert "<html" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", socket_paths())
class TestWebsockets:
    async def test_it_refuses_without_credentials(self, path: str) -> None:
        assert not await connects(path, [(b"origin", b"http://testserver")])
        wrong = (b"cookie", b"sessionid=unknown")
        assert not await connects(path, [(b"origin", b"http://testserver"), wrong])

    @pytest.mark.parametrize(
        "origin", [[], [(b"origin", b"null")], [(b"origin", b"http://evil.example")]]
    )
    async def test_it_refuses_a_foreign_site(
        self, path: str, origin: list[tuple[bytes, bytes]], session_cookie: tuple[bytes, bytes]
    ) -> None:
        assert not await connects(path, [*origin, session_cookie])

    async def test_it_lets_a_session_in(
        self, path: str, session_cookie: tuple[bytes, bytes]
    ) -> None:
        assert await connects(path, [(b"origin", b"http://testserver"), session_cookie])


@pytest.fixture
def session_cookie(person: MakeUser, client: Client) -> tuple[bytes, bytes]:
    client.force_login(person("ada", "admin"))
    name = django_settings.SESSION_COOKIE_NAME
    return b"cookie", f"{name}={client.cookies[name].value}".encode()


@pytest.mark.django_db
class TestSignInPage:
    @pytest.fixture(autouse=True)
    def _ann(self, person: MakeUser) -> None:
        person("ann", password=PASSWORD)

    def sign_in(self, client: Client, target: str = "", password: str = "") -> httpx.Response:
        body = {"username": "ann", "password": password or PASSWORD}
        return client.post(f"/login/?next={target}", body)  # type: ignore[return-value]

    def test_it_gives_a_fresh_session(self, client: Client) -> None:
        client.cookies[django_settings.SESSION_COOKIE_NAME] = "chosen-by-an-attacker"
        assert self.sign_in(client).status_code == 302
        cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
        assert cookie.value != "chosen-by-an-attacker"
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"

    @pytest.mark.parametrize(
        "target",
        [
            "https://evil.example/",
            "//evil.example/",
            "///evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "http:evil.example",
            "\thttps://evil.example",
        ],
    )
    def test_it_leads_nowhere_else(self, client: Client, target: str) -> None:
        response = self.sign_in(client, target)
        assert response.headers["Location"] == "/"

    def test_it_leads_back_to_a_page_of_ours(self, client: Client) -> None:
        assert self.sign_in(client, "/keys/").headers["Location"] == "/keys/"

    def test_it_says_when_there_were_too_many_attempts(self, client: Client) -> None:
        answers = [self.sign_in(client, password="wrong") for _ in range(6)]
        assert [one.status_code for one in answers] == [401] * 5 + [429]
        assert int(answers[-1].headers["Retry-After"]) > 0

    def test_it_needs_the_csrf_token(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        assert self.sign_in(strict).status_code == 403

    def test_signing_out_needs_a_post(self, client: Client) -> None:
        self.sign_in(client)
        assert client.get("/logout/").status_code == 405
        client.post("/logout/")
        assert client.get("/keys/").status_code == 302
