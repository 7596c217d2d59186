"""Passkeys: set up, shown at the sign-in and as its second step; and none that was made elsewhere."""

import json
import time
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import factors, passkeys, throttle
from accounts.models import Passkey, User, Visit
from tests.accounts.authenticator import PRESENT, Authenticator
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.signing import is_in, password_step

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann", password=PASSWORD)


def post(client: Client, path: str, body: dict[str, Any] | None = None) -> Any:
    return client.post(path, json.dumps(body or {}), content_type="application/json")


def add(client: Client, device: Authenticator, name: str = "my key") -> Any:
    options = post(client, "/account/passkeys/begin/").json()
    return post(client, "/account/passkeys/", {"credential": device.create(options), "name": name})


def enter(client: Client, device: Authenticator, path: str = "/login/passkey/") -> Any:
    options = post(client, "/login/passkey/begin/").json()
    return post(client, path, {"credential": device.get(options)})


@pytest.fixture
def device(ann: User) -> Authenticator:
    """A key that Ann set up."""
    client, made = Client(), Authenticator()
    password_step(client)
    assert add(client, made).status_code == 200
    return made


def test_setting_one_up_leads_to_recovery_codes(ann: User, client: Client) -> None:
    password_step(client)
    assert add(client, Authenticator()).json()["next"] == "/account/recovery/"
    assert Passkey.objects.get().name == "my key"
    assert factors.held(ann).any


def test_it_signs_in_without_a_password(device: Authenticator, client: Client) -> None:
    answer = enter(client, device, "/login/passkey/?next=/keys/")
    assert answer.json()["next"] == "/keys/"
    assert is_in(client)
    assert Visit.objects.filter(how="passkey").count() == 1


def test_it_is_the_second_step(device: Authenticator, client: Client) -> None:
    assert password_step(client, target="/keys/")["Location"] == "/login/second/"
    assert not is_in(client)
    assert enter(client, device).json()["next"] == "/keys/"
    assert is_in(client)


def test_one_of_somebody_else_is_no_second_step(
    device: Authenticator, person: MakeUser, client: Client
) -> None:
    person("bob", password=PASSWORD)
    bobs = Client()
    password_step(bobs, "bob")
    other = Authenticator()
    add(bobs, other)
    password_step(client)
    assert enter(client, other).status_code == 400
    assert not is_in(client)


def test_it_proves_who_sits_there(device: Authenticator, client: Client) -> None:
    enter(client, device)
    session = client.session
    session["hub_proved_at"] = int(time.time()) - 601
    session.save()
    assert client.get("/account/app/").status_code == 302
    answer = enter(client, device, "/login/passkey/?next=/account/app/")
    assert answer.json()["next"] == "/account/app/"
    assert client.get("/account/app/").status_code == 200


def test_it_leads_nowhere_else(device: Authenticator, client: Client) -> None:
    answer = enter(client, device, "/login/passkey/?next=//evil.example")
    assert answer.json()["next"] == "/"


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "https://localhost"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "null"},
        {"place": "evil.example"},
        {"flags": PRESENT},  # nobody was verified: a found key is not enough
        {"flags": 0},
        {"handle": b"hub-user-999"},
        {"credential_id": b"0" * 16},
    ],
)
class TestMadeElsewhere:
    def test_it_does_not_sign_in(
        self, device: Authenticator, client: Client, change: dict[str, Any]
    ) -> None:
        for name, value in change.items():
            setattr(device, name, value)
        assert enter(client, device).status_code == 400
        assert not is_in(client)

    def test_it_is_not_set_up(self, ann: User, client: Client, change: dict[str, Any]) -> None:
        if {"handle", "credential_id"} & change.keys():
            return  # of a sign-in only
        password_step(client)
        made = Authenticator(**change)
        assert add(client, made).status_code == 400
        assert not Passkey.objects.exists()


def test_another_key_does_not_sign_for_it(device: Authenticator, client: Client) -> None:
    device.key = Authenticator().key
    assert enter(client, device).status_code == 400


def test_an_answer_counts_once(device: Authenticator, client: Client) -> None:
    options = post(client, "/login/passkey/begin/").json()
    answer = {"credential": device.get(options)}
    assert post(client, "/login/passkey/", answer).status_code == 200
    other = Client()
    post(other, "/login/passkey/begin/")
    assert post(other, "/login/passkey/", answer).status_code == 400
    assert post(Client(), "/login/passkey/", answer).status_code == 400


def test_a_copy_is_noticed(device: Authenticator, client: Client) -> None:
    enter(client, device)
    device.counter -= 1
    other = Client()
    assert enter(other, device).status_code == 400
    assert not is_in(other)


def test_a_challenge_ends_after_minutes(device: Authenticator, client: Client) -> None:
    options = post(client, "/login/passkey/begin/").json()
    session = client.session
    session["hub_passkey"] |= {"at": int(time.time()) - 301}
    session.save()
    assert post(client, "/login/passkey/", {"credential": device.get(options)}).status_code == 400


def test_only_what_fails_counts_against_the_address(
    device: Authenticator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.dashboard.views.passkeys.ADDRESS", throttle.Rule(2, 900))
    for _ in range(3):
        assert enter(Client(), device).status_code == 200
    for _ in range(2):
        assert post(client, "/login/passkey/begin/").status_code == 200
    assert post(client, "/login/passkey/begin/").status_code == 429


def test_the_disabled_stay_out(device: Authenticator, client: Client) -> None:
    User.objects.update(is_active=False)
    assert enter(client, device).status_code == 400


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"credential": 7}', '{"credential": {}}', "\ud800"]
)
def test_nonsense_is_refused(device: Authenticator, client: Client, body: str) -> None:
    post(client, "/login/passkey/begin/")
    raw = body.encode(errors="surrogatepass")
    answer = client.post("/login/passkey/", raw, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/login/passkey/", "/account/passkeys/"])
def test_a_form_is_no_answer_of_a_passkey(ann: User, client: Client, path: str) -> None:
    password_step(client)
    client.get("/account/")
    client.handler.enforce_csrf_checks = True  # this check reads the form first
    token = client.cookies["csrftoken"].value
    answer = client.post(
        path, b"--x\r\nbad", "multipart/form-data; boundary=x", headers={"x-csrftoken": token}
    )
    assert answer.status_code == 400
    assert answer.json()["reason"]


def test_the_place_is_the_configured_one(ann: User, client: Client, settings: Settings) -> None:
    settings.HUB_PUBLIC_URL = "https://hub.example.org"
    assert passkeys.place() == "hub.example.org"
    assert passkeys.works_at("hub.example.org")
    assert not passkeys.works_at("localhost:8000")
    password_step(client)
    assert add(client, Authenticator()).status_code == 400
    good = Authenticator("https://hub.example.org", "hub.example.org")
    assert add(client, good).status_code == 200


def test_it_is_removed(device: Authenticator, client: Client, ann: User) -> None:
    enter(client, device)
    client.post(f"/account/passkeys/{Passkey.objects.get().pk}/remove/")
    assert not Passkey.objects.exists()
    assert enter(Client(), device).status_code == 400
    assert password_step(Client())["Location"] == "/"


def test_those_of_others_are_invisible(
    device: Authenticator, person: MakeUser, client: Client
) -> None:
    person("bob", password=PASSWORD)
    password_step(client, "bob")
    assert client.post(f"/account/passkeys/{Passkey.objects.get().pk}/remove/").status_code == 404
    assert Passkey.objects.exists()


def test_adding_asks_again_who_you_are(ann: User, client: Client) -> None:
    password_step(client)
    session = client.session
    session["hub_proved_at"] = 0
    session.save()
    assert post(client, "/account/passkeys/begin/").status_code == 302
