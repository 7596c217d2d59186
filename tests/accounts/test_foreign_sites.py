"""CSRF: every unsafe method of every route, sent by a foreign page with somebody's session."""

import httpx
import pytest
from django.conf import settings as django_settings
from django.test import Client

from hub.asgi import application
from tests.accounts.conftest import MakeUser
from tests.accounts.route_table import API, PAGES, V1

pytestmark = pytest.mark.usefixtures("idle_node")
# They take a proof in the body and look at no session, so that there is nothing to forge.
NO_SESSION = {
    "/oauth/token/",
    "/oauth/revoke/",
    "/oauth/introspect/",
    "/api/v1/auth/token",
    "/api/v1/auth/refresh",
    "/api/v1/auth/revoke",
}
UNSAFE = [
    (method, path)
    for path, line in (API | PAGES).items()
    for method in line
    if method != "GET" and path not in NO_SESSION
]
UNSAFE_V1 = [(method, path) for path, line in V1.items() for method in line if method != "GET"]
PROOF = "a" * 32
EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
# What such a page can send: a form of its own; one with a guess; one with a proof that it got hold of.
SENT: dict[str, dict[str, str]] = {
    "no proof": EVIL,
    "another proof": {**EVIL, "x-csrftoken": "b" * 32},
    "the proof": {**EVIL, "x-csrftoken": PROOF},
    "the proof, from nowhere": {"origin": "null", "x-csrftoken": PROOF},
}


def test_what_looks_at_no_session_is_still_there() -> None:
    assert set(API | PAGES) >= NO_SESSION
    assert len(UNSAFE) > 100


@pytest.fixture
def victim(person: MakeUser) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(person("ada", "admin"))
    client.cookies["csrftoken"] = PROOF
    return client


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path"), UNSAFE)
def test_a_foreign_page_is_refused_by_every_route(victim: Client, method: str, path: str) -> None:
    for how, headers in SENT.items():
        answer = victim.generic(method, path, "", "text/plain", headers=headers)
        assert answer.status_code == 403, how
    assert victim.get("/account/").status_code == 200  # and nobody was signed out


@pytest.mark.django_db
@pytest.mark.parametrize("path", sorted(NO_SESSION))
def test_a_session_is_worth_nothing_where_none_is_looked_at(victim: Client, path: str) -> None:
    stranger = Client(enforce_csrf_checks=True)
    told, nobody = [
        client.generic("POST", path, "{}", "application/json", headers=EVIL)
        for client in (victim, stranger)
    ]
    assert told.status_code == nobody.status_code
    assert told.status_code >= 400
    assert told.content == nobody.content


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path"), UNSAFE_V1)
async def test_a_foreign_page_is_refused_under_v1(victim: Client, method: str, path: str) -> None:
    name = django_settings.SESSION_COOKIE_NAME
    cookie = f"{name}={victim.cookies[name].value}; csrftoken={PROOF}"
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type] # scopes are plain dicts
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        for how, headers in SENT.items():
            sent = {**headers, "cookie": cookie}
            answer = await client.request(method, path, headers=sent, json={})
            assert answer.status_code == 403, how
