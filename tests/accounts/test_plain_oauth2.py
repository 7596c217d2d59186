"""Signing in by providers of OAuth2 alone: real ones, and one that says what it likes."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx
import oidc_provider_mock
import pytest
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import Identity, Provider, User
from hub import config
from tests.accounts import provider as lying
from tests.accounts.application_cases import register
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.sign_on_cases import BACK, depart
from tests.accounts.signing import is_in, password_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("open_networks")]


def addresses(at: str, **more: str) -> dict[str, str]:
    places = {"authorize_url": f"{at}/authorize", "token_url": f"{at}/token"}
    return places | {"userinfo_url": f"{at}/userinfo", "scope": "read:user"} | more


def corp(client: Client, oauth2: dict[str, str], **more: str) -> Provider:
    """Let an administrator of the page connect it."""
    wanted = {"name": "Corp", "issuer": "", "client_id": "hub", "client_secret": "s3cret"}
    wanted |= {"group_claim": "groups"}
    wanted |= {"default_role": "developer", "makes_accounts": "on", "enabled": "on"}
    answer = client.post("/access/sign-in/new/", wanted | oauth2 | more)
    assert answer.status_code == 302, answer.content.decode()
    return Provider.objects.get()


@pytest.fixture(name="admin")
def _admin(person: MakeUser) -> Client:
    person("root", "admin", PASSWORD)
    client = Client()
    password_step(client, "root")
    return client


def arrived(client: Client, location: str) -> Any:
    where = urlsplit(location)
    assert where.path == BACK, location
    return client.get(f"{where.path}?{where.query}")


# --- real providers -------------------------------------------------------------------------------


class TestAuthlibsServer:
    """Source: oidc-provider-mock; what it says by OpenID Connect is not looked at."""

    @pytest.fixture
    def real(self) -> Iterator[str]:
        with oidc_provider_mock.run_server_in_thread() as server:
            url = f"http://127.0.0.1:{server.server_port}"
            claims = {"preferred_username": "ann", "groups": ["staff"]}
            httpx.put(f"{url}/users/u-1", json=claims).raise_for_status()
            yield url

    def through(self, client: Client) -> Any:
        answer = client.get("/login/with/corp/?next=/keys/")
        page = httpx.post(answer["Location"], data={"sub": "u-1"})
        return arrived(client, page.headers["Location"])

    def test_it_signs_in_and_makes_one_account(self, real: str, admin: Client) -> None:
        places = addresses(f"{real}/oauth2", subject_claim="sub", scope="openid profile")
        corp(admin, places | {"userinfo_url": f"{real}/userinfo"}, role_lines="staff = operator")
        for _ in range(2):
            client = Client()
            assert self.through(client)["Location"] == "/keys/"
            assert is_in(client)
        user = User.objects.exclude(username="root").get()
        assert (user.username, user.role) == ("ann", "operator")
        assert Identity.objects.get().subject == "u-1"


class _Form(HTMLParser):
    """The first form's hidden fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "input" and told.get("type") == "hidden" and told.get("name"):
            self.fields[told["name"] or ""] = told.get("value") or ""


class TestAnotherHub:
    """Our own OAuth2 server, which is django-oauth-toolkit's, asked over HTTP."""

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.usefixtures("redis_url")
    def test_a_person_of_it_signs_in(
        self, live_server: LiveServer, admin: Client, person: MakeUser
    ) -> None:
        person("ann", "viewer", PASSWORD)
        back = f"http://localhost{BACK}"
        app, secret = register(
            User.objects.get(username="root"), redirect_uris=[back], scopes=["models:read"]
        )
        places = {
            "authorize_url": f"{live_server.url}/oauth/authorize/",
            "token_url": f"{live_server.url}/oauth/token/",
            "userinfo_url": f"{live_server.url}/api/v1/me",
            "subject_claim": "username",
            "scope": "models:read",
        }
        corp(admin, places, client_id=app.client_id, client_secret=secret)
        visitor = Client(SERVER_NAME="localhost")
        asked = visitor.get("/login/with/corp/")["Location"]
        answer = arrived(visitor, self.allowed(live_server.url, asked))
        assert answer.status_code == 302, answer.content.decode()
        assert is_in(visitor)
        identity = Identity.objects.get()
        assert (identity.subject, identity.user.username) == ("ann", "ann-2")
        assert identity.issuer.endswith(f"{live_server.url}/api/v1/me")

    def allowed(self, at: str, asked: str) -> str:
        """Sign in there as ann, let the application in, and give where that leads."""
        with httpx.Client(base_url=at) as browser:
            page = browser.get("/login/")
            body = {"username": "ann", "password": PASSWORD} | _Form(page.text).fields
            browser.post("/login/", data=body)
            page = browser.get(asked)
            assert page.status_code == 200, page.text
            done = browser.post(asked, data={**_Form(page.text).fields, "allow": "true"})
        return done.headers["Location"]


# --- one that says what it likes ------------------------------------------------------------------

PERSON = {"id": 7, "login": "ann", "email": "root@example.org"}


@pytest.fixture(name="told")
def _told(idp: lying.Provider, admin: Client) -> lying.Provider:
    corp(admin, addresses(idp.issuer))
    idp.token_answer = {"access_token": "at", "token_type": "bearer"}
    idp.userinfo = dict(PERSON)
    return idp


def come_back(client: Client, **answer: str) -> Any:
    asked = depart(client)
    return client.get(BACK, {"code": "c1", "state": asked["state"]} | answer)


def made() -> User:
    return User.objects.exclude(username="root").get()


def test_it_asks_with_a_state_and_a_challenge_and_for_its_scope(
    told: lying.Provider, client: Client
) -> None:
    asked = depart(client)
    assert asked["scope"] == "read:user"
    assert (asked["code_challenge_method"], "nonce" in asked) == ("S256", False)
    client.get(BACK, {"code": "c1", "state": asked["state"]})
    [sent] = told.asked
    assert (sent["code"], sent["client_id"], sent["client_secret"]) == ("c1", "hub", "s3cret")
    assert sent["redirect_uri"] == asked["redirect_uri"]
    assert len(sent["code_verifier"]) > 40


def test_a_number_is_who_somebody_is_and_a_name_is_not(
    told: lying.Provider, client: Client
) -> None:
    come_back(client)
    assert (made().username, Identity.objects.get().subject) == ("ann", "7")
    told.userinfo |= {"login": "another"}
    second = Client()
    come_back(second)
    assert is_in(second)
    told.userinfo |= {"id": 8, "login": "ann"}
    come_back(Client())
    assert User.objects.filter(username="ann-2").exists()


def test_the_same_number_at_another_address_is_somebody_else(
    told: lying.Provider, admin: Client
) -> None:
    """Whoever changes where people are asked for opens no account that is there."""
    come_back(Client())
    changed = addresses(told.issuer, userinfo_url=f"{told.issuer}/userinfo?v=2")
    form = {"name": "Corp", "client_id": "hub", "default_role": "viewer", "enabled": "on"}
    assert admin.post("/access/sign-in/edit/corp/", form | changed).status_code == 302
    row = Provider.objects.get()
    assert row.issuer.endswith("?v=2")
    assert not Identity.objects.filter(issuer=row.issuer).exists()


@pytest.mark.parametrize(
    ("tokens", "userinfo"),
    [
        ({"error": "bad_verification_code"}, PERSON),
        ({"access_token": ""}, PERSON),
        ({"access_token": "a\nb: c"}, PERSON),
        ({"access_token": 5}, PERSON),
        ({"access_token": "at", "token_type": "mac"}, PERSON),
        ({"access_token": "at"}, {"login": "ann"}),
        ({"access_token": "at"}, PERSON | {"id": None}),
        ({"access_token": "at"}, PERSON | {"id": True}),
        ({"access_token": "at"}, PERSON | {"id": ""}),
        ({"access_token": "at"}, PERSON | {"id": [7]}),
        ({"access_token": "at"}, PERSON | {"id": "7" * 256}),
    ],
)
def test_what_is_no_answer_lets_nobody_in(
    told: lying.Provider, client: Client, tokens: dict[str, Any], userinfo: dict[str, Any]
) -> None:
    told.token_answer, told.userinfo = tokens, userinfo
    answer = come_back(client)
    assert answer.status_code == 403
    assert not is_in(client)
    assert User.objects.count() == 1


@pytest.mark.parametrize("answer", [{"state": "other"}, {"error": "access_denied"}, {"code": ""}])
def test_an_answer_that_was_not_asked_for_lets_nobody_in(
    told: lying.Provider, client: Client, answer: dict[str, str]
) -> None:
    assert come_back(client, **answer).status_code == 403
    assert not told.asked
    assert not is_in(client)


# --- connecting one -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://id.example.org"},
        {"token_url": ""},
        {"token_url": "file:///etc/passwd"},
        {"userinfo_url": "https://u:p@example.org/"},
        {"authorize_url": "javascript:alert(1)"},
        {"subject_claim": "x" * 61},
        {"scope": "x" * 301},
    ],
)
def test_what_cannot_be_is_refused_on_the_page(
    idp: lying.Provider, admin: Client, change: dict[str, str]
) -> None:
    form = {"name": "Corp", "client_id": "hub"} | addresses(idp.issuer) | change
    answer = admin.post("/access/sign-in/new/", form)
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "notice-error" in page
    assert "Object missing" not in page
    assert not Provider.objects.exists()


@pytest.mark.usefixtures("redis_url")
def test_the_api_takes_one_and_names_what_is_wrong(admin: Client, idp: lying.Provider) -> None:
    token = admin.get("/access/sign-in/").context["csrf_token"]
    headers = {"x-csrftoken": str(token)}

    def post(body: dict[str, Any]) -> Any:
        wanted = {"name": "Corp", "client_id": "hub", **body}
        return admin.post("/api/v1/providers", wanted, "application/json", headers=headers)

    kept = post({"oauth2": addresses(idp.issuer)})
    assert kept.status_code == 201, kept.content
    assert kept.json()["oauth2"]["subject_claim"] == "id"
    assert kept.json()["issuer"].startswith("oauth2:")
    for wrong in ({}, {"oauth2": {"token_url": "https://a.example"}}, {"oauth2": {"secret": "x"}}):
        assert post(wrong).status_code == 400, wrong


def test_the_configuration_file_may_name_one(
    idp: lying.Provider, settings: Settings, client: Client
) -> None:
    one = {"name": "corp", "client_id": "hub", "default_role": "viewer"}
    file = {"single_sign_on": [one | {"oauth2": addresses(idp.issuer)}]}
    settings.HUB_CONFIG = config.parse(json.dumps(file).encode())
    idp.token_answer, idp.userinfo = {"access_token": "at"}, dict(PERSON)
    come_back(client)
    assert User.objects.get().role == "viewer"
    for both in ({}, {"issuer": "https://a.example", "oauth2": addresses(idp.issuer)}):
        with pytest.raises(config.ConfigError, match="either `issuer` or `oauth2`"):
            config.parse(json.dumps({"single_sign_on": [one | both]}).encode())
