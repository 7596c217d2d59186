"""Third-party applications: consent, PKCE, exact addresses, tokens that end, and the usual attacks."""

import base64
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from accounts import applications, oauth
from accounts.models import Application, AuditRow, User
from tests.accounts.application_cases import (
    URI,
    VERIFIER,
    allow,
    ask,
    challenge_of,
    exchange,
    refused,
    register,
    who,
)
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.signing import password_step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def admin(person: MakeUser) -> User:
    return person("root", "admin", PASSWORD)


@pytest.fixture
def ann(person: MakeUser, client: Client) -> User:
    user = person("ann", "developer", PASSWORD)
    password_step(client)
    return user


class TestTheCode:
    def test_it_becomes_a_token_with_the_persons_rights(
        self, admin: User, ann: User, client: Client
    ) -> None:
        app, secret = register(admin)
        got = allow(client, app, scope="models:read inference:chat")
        assert got["state"] == "xyz"
        assert got["iss"] == "http://testserver"
        assert AuditRow.objects.filter(action="application.allow", actor="ann").count() == 1
        answer = exchange(app, secret, got["code"])
        assert answer.status_code == 200, answer.content
        found = answer.json()
        assert found["expires_in"] == 15 * 60
        principal = who(found["access_token"])
        assert principal.username == "ann"
        assert principal.scopes == frozenset({"models:read", "inference:chat"})
        ann.role = "viewer"
        ann.save()
        assert who(found["access_token"]).scopes == frozenset({"models:read"})
        ann.is_active = False
        ann.save()
        assert refused(found["access_token"]) == "invalid"

    def test_it_asks_first_and_says_what_for(self, admin: User, ann: User, client: Client) -> None:
        app, _ = register(admin, name="<img src=x>")
        page = ask(client, app, scope="models:read inference:chat").content.decode()
        assert "List models and see their state" in page
        assert "<img src=x>" not in page
        assert "app.example.org" in page

    def test_no_is_no(self, admin: User, ann: User, client: Client) -> None:
        app, _ = register(admin)
        page = ask(client, app)
        fields = {name: value or "" for name, value in page.context["form"].initial.items()}
        answer = client.post("/oauth/authorize/", fields)
        assert "error=access_denied" in answer["Location"]

    def test_strangers_sign_in_first(self, admin: User) -> None:
        app, _ = register(admin)
        assert ask(Client(), app)["Location"].startswith("/login/?next=/oauth/authorize/")

    @pytest.mark.parametrize(
        "uri",
        [
            "https://evil.example/",
            URI + "/",
            URI + "?x=1",
            URI + "/../evil",
            "https://app.example.org.evil.example/back",
            "https://app.example.org/BACK",
            "",
        ],
    )
    def test_another_address_gets_nothing(
        self, admin: User, ann: User, client: Client, uri: str
    ) -> None:
        app, _ = register(admin, redirect_uris=[URI, "https://app.example.org/other"])
        answer = ask(client, app, redirect_uri=uri)
        assert answer.status_code == 400
        assert "Location" not in answer

    @pytest.mark.parametrize(
        "change",
        [
            {"code_challenge": ""},
            {"code_challenge_method": "plain"},
            {"code_challenge_method": ""},
            {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "s256"},
            {"resource": "http://%00["},
            {"resource": "http://["},
            {"response_type": "token"},
            {"response_type": "id_token"},
            {"scope": "models:read admin:users"},
            {"scope": "models:write"},
            {"scope": "nonsense"},
        ],
    )
    def test_what_is_weak_or_too_much_is_refused(
        self, admin: User, ann: User, client: Client, change: dict[str, str]
    ) -> None:
        app, _ = register(admin)
        answer = ask(client, app, **change)
        assert answer.status_code == 302  # back to the application, without a page of consent
        assert answer["Location"].startswith(f"{URI}?error=")
        assert "state=xyz" in answer["Location"]
        if "code_challenge" in change or "code_challenge_method" in change:
            assert "error=invalid_request" in answer["Location"]
        assert "code=" not in answer["Location"]

    def test_the_form_cannot_be_changed_into_more(
        self, admin: User, ann: User, client: Client
    ) -> None:
        app, secret = register(admin)
        page = ask(client, app)
        fields = {name: value or "" for name, value in page.context["form"].initial.items()}
        fields |= {"allow": "true", "scope": "models:read admin:users"}
        answer = client.post("/oauth/authorize/", fields)
        code = parse_qs(urlsplit(answer.get("Location", "")).query).get("code", [""])[0]
        if code:
            token = exchange(app, secret, code).json()["access_token"]
            assert not who(token).allows("admin:users")
        for change in (
            {"redirect_uri": "https://evil.example/"},
            {"client_id": "x"},
            {"resource": "http://["},
            {"code_challenge": ""},
            {"code_challenge_method": "plain"},
            {"code_challenge_method": ""},
        ):
            with_change = fields | {"scope": "models:read"} | change
            answer = client.post("/oauth/authorize/", with_change)
            assert answer.status_code in {302, 400}
            assert "evil.example" not in answer.get("Location", "")
            assert "code=" not in answer.get("Location", "")

    def test_an_unknown_application_is_said_on_a_page(self, ann: User, client: Client) -> None:
        fields = {"client_id": "x", "redirect_uri": URI, "scope": "models:read"}
        answer = client.post("/oauth/authorize/", fields | {"response_type": "code"})
        assert answer.status_code == 400
        assert "<code>invalid_request</code>" in answer.content.decode()

    @pytest.mark.parametrize(
        "change",
        [
            {"code_verifier": secrets.token_urlsafe(48)},
            {"code_verifier": ""},
            {"code_verifier": challenge_of(VERIFIER)},
            {"redirect_uri": "https://app.example.org/other"},
            {"client_secret": "wrong"},
            {"grant_type": "password"},
            {"code": "x"},
        ],
    )
    def test_a_stolen_code_is_worth_nothing(
        self, admin: User, ann: User, client: Client, change: dict[str, str]
    ) -> None:
        app, secret = register(admin)
        code = allow(client, app)["code"]
        body = {"client_secret": secret} | change
        given = body.pop("client_secret")
        assert exchange(app, given, body.pop("code", code), **body).status_code in {400, 401}

    def test_a_code_of_another_application_is_none(
        self, admin: User, ann: User, client: Client
    ) -> None:
        app, _ = register(admin)
        other, secret = register(admin, name="Other")
        code = allow(client, app)["code"]
        assert exchange(other, secret, code).status_code == 400

    def test_it_works_once(self, admin: User, ann: User, client: Client) -> None:
        app, secret = register(admin)
        code = allow(client, app)["code"]
        assert exchange(app, secret, code).status_code == 200
        assert exchange(app, secret, code).status_code == 400

    def test_a_public_program_needs_no_secret_and_pkce_all_the_same(
        self, admin: User, ann: User, client: Client
    ) -> None:
        app, secret = register(admin, is_public=True)
        assert secret == ""
        code = allow(client, app)["code"]
        assert exchange(app, "", code, code_verifier="").status_code == 400
        code = allow(client, app)["code"]
        assert exchange(app, "", code).status_code == 200


class TestItsTokens:
    @pytest.fixture
    def got(self, admin: User, ann: User, client: Client) -> tuple[Application, str, Any]:
        app, secret = register(admin)
        return app, secret, exchange(app, secret, allow(client, app)["code"]).json()

    def refresh(self, app: Application, secret: str, token: str) -> Any:
        body = {"grant_type": "refresh_token", "refresh_token": token}
        more = {"client_id": app.client_id, "client_secret": secret}
        return Client().post("/oauth/token/", body | more)

    def test_a_refresh_token_works_once_and_a_second_use_ends_all(self, got: Any) -> None:
        app, secret, first = got
        second = self.refresh(app, secret, first["refresh_token"])
        assert second.status_code == 200
        assert refused(first["access_token"]) == "invalid"
        assert self.refresh(app, secret, first["refresh_token"]).status_code == 400
        assert self.refresh(app, secret, second.json()["refresh_token"]).status_code == 400
        assert refused(second.json()["access_token"]) == "invalid"

    def test_revoking_ends_it(self, got: Any) -> None:
        app, secret, found = got
        body = {"token": found["access_token"], "client_id": app.client_id}
        assert who(found["access_token"]).username == "ann"
        Client().post("/oauth/revoke/", body | {"client_secret": secret})
        assert refused(found["access_token"]) == "invalid"

    def test_introspection_tells_its_own_application_alone(self, got: Any, admin: User) -> None:
        app, secret, found = got
        other, other_secret = register(admin, name="Other")
        body = {"token": found["access_token"]}
        mine = {"client_id": app.client_id, "client_secret": secret}
        told = Client().post("/oauth/introspect/", body | mine).json()
        assert (told["active"], told["username"], told["scope"]) == (True, "ann", "models:read")
        theirs = {"client_id": other.client_id, "client_secret": other_secret}
        assert Client().post("/oauth/introspect/", body | theirs).json() == {"active": False}
        wrong = {"client_id": app.client_id, "client_secret": "x"}
        assert Client().post("/oauth/introspect/", body | wrong).status_code == 401
        pair = base64.b64encode(f"{app.client_id}:{secret}".encode()).decode()
        basic = Client(headers={"authorization": f"Basic {pair}"})
        assert basic.post("/oauth/introspect/", body).json()["active"] is True
        assert basic.post("/oauth/introspect/", {"token": "hubo_x"}).json() == {"active": False}

    def test_a_person_takes_it_back(self, got: Any, client: Client) -> None:
        app, secret, found = got
        assert "Notes" in client.get("/account/").content.decode()
        client.post(f"/account/apps/{app.pk}/end/")
        assert refused(found["access_token"]) == "invalid"
        assert self.refresh(app, secret, found["refresh_token"]).status_code == 400
        assert client.post(f"/account/apps/{app.pk}/end/").status_code == 404

    def test_removing_the_application_ends_it(self, got: Any) -> None:
        app, _secret, found = got
        applications.remove(app)
        assert refused(found["access_token"]) == "invalid"

    def test_the_database_holds_no_token_and_no_code(
        self, got: Any, ann: User, client: Client
    ) -> None:
        app, _secret, found = got
        code = allow(client, app)["code"]
        held = ""
        for table in ("accesstoken", "refreshtoken", "grant"):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM oauth2_provider_{table}")
                held += repr(cursor.fetchall())
        for secret in (found["access_token"], found["refresh_token"], code):
            assert secret not in held


class TestByItself:
    def token(self, app: Application, secret: str, **more: str) -> Any:
        body = {"grant_type": "client_credentials", "client_id": app.client_id}
        return Client().post("/oauth/token/", body | {"client_secret": secret} | more)

    def test_it_acts_as_its_account(self, admin: User, person: MakeUser) -> None:
        robot = person("robot", "developer")
        app, secret = register(admin, service=robot, redirect_uris=[])
        found = self.token(app, secret).json()
        principal = who(found["access_token"])
        assert principal.username == "robot"
        assert principal.scopes == frozenset({"models:read", "inference:chat"})
        assert "refresh_token" not in found
        robot.is_active = False
        robot.save()
        assert refused(found["access_token"]) == "invalid"

    def test_it_gets_no_more_than_it_was_registered_with(
        self, admin: User, person: MakeUser
    ) -> None:
        app, secret = register(admin, service=person("robot", "admin"), redirect_uris=[])
        assert self.token(app, secret, scope="admin:users").status_code == 400
        assert self.token(app, "wrong").status_code == 401

    def test_one_that_asks_people_cannot(self, admin: User) -> None:
        app, secret = register(admin)
        assert self.token(app, secret).status_code in {400, 401}


@pytest.mark.parametrize("more", [{}, {"device_code": "x"}])
def test_there_is_no_grant_of_devices(admin: User, more: dict[str, str]) -> None:
    app, secret = register(admin)
    body = {"grant_type": oauth.DEVICE, "client_id": app.client_id, "client_secret": secret}
    answer = Client().post("/oauth/token/", body | more)
    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported_grant_type"


def test_a_token_is_for_no_address_that_cannot_be_read(
    admin: User, ann: User, client: Client
) -> None:
    app, secret = register(admin)
    answer = exchange(app, secret, allow(client, app)["code"], resource="http://[")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


def test_it_says_where_all_this_lies(client: Client) -> None:
    told = client.get("/.well-known/oauth-authorization-server").json()
    assert told["issuer"] == "http://testserver"
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["token_endpoint"] == "http://testserver/oauth/token/"
