"""Registering third-party applications: which addresses and scopes, by whom, and the pages."""

import pytest
from django.test import Client

from accounts.applications import AppRefused
from accounts.models import Application, User
from tests.accounts.application_cases import URI, register
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


class TestRegistering:
    @pytest.mark.parametrize(
        "uri",
        [
            "http://app.example.org/",
            "https://app.example.org/#x",
            "https://*.example.org/",
            "https://user@app.example.org/",
            "javascript:alert(1)",
            "data:text/html,x",
            "//app.example.org",
            "https://",
            "https://[",
        ],
    )
    def test_it_refuses_addresses(self, admin: User, uri: str) -> None:
        with pytest.raises(AppRefused):
            register(admin, redirect_uris=[uri])

    @pytest.mark.parametrize(
        "uri", [URI, "http://localhost:7000/x", "http://127.0.0.1:7000/", "com.example.app:/back"]
    )
    def test_it_takes_addresses(self, admin: User, uri: str) -> None:
        assert register(admin, redirect_uris=[uri])[0].redirect_uris == uri

    def test_nobody_gives_what_they_do_not_hold(self, ann: User) -> None:
        with pytest.raises(AppRefused):
            register(ann, scopes=["models:write"])

    def test_only_who_manages_people_makes_one_that_acts_by_itself(
        self, ann: User, person: MakeUser
    ) -> None:
        with pytest.raises(AppRefused):
            register(ann, service=person("robot", "admin"))

    def test_the_secret_is_kept_as_a_digest(self, admin: User) -> None:
        app, secret = register(admin)
        assert secret not in app.client_secret
        assert len(secret) > 43

    def test_pages_show_ones_own(self, ann: User, admin: User, client: Client) -> None:
        mine, _ = register(ann, scopes=["models:read"])
        theirs, _ = register(admin, name="Theirs")
        page = client.get("/apps/").content.decode()
        assert mine.client_id in page
        assert theirs.client_id not in page
        assert client.post(f"/apps/{theirs.pk}/remove/").status_code == 404
        client.post(f"/apps/{mine.pk}/remove/")
        assert [*Application.objects.all()] == [theirs]

    def test_the_form_registers_and_shows_the_secret_once(self, ann: User, client: Client) -> None:
        form = {"name": "N", "kind": "confidential", "redirect_uris": URI, "scopes": "models:read"}
        page = client.post("/apps/new/", form)
        secret = page.context["plaintext"]
        assert secret in page.content.decode()
        assert secret not in client.get("/apps/").content.decode()
        assert client.post("/apps/new/", form | {"redirect_uris": "ftp://x"}).status_code == 400
