"""`/api/v1/providers` and `/api/v1/applications`: secrets go in and never come out; nobody mints rights."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts import keys, scopes
from accounts.models import Application, AuditRow, Provider, Role, Team, User
from tests.accounts import provider as lying
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.signing import password_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("open_networks")]
SECRET = "a-secret-of-the-provider"
Call = Callable[..., Any]


def calls(user: User, *held: str) -> Call:
    plaintext = keys.issue(user, "k", held, by=session_of(user))[1]
    client = Client(headers={"x-api-key": plaintext})

    def call(method: str, path: str, body: Any = None) -> Any:
        where = f"/api/v1/{path}"
        return client.generic(method, where, json.dumps(body or {}), "application/json")

    return call


@pytest.fixture
def root(person: MakeUser) -> Call:
    return calls(person("root", "admin"), *scopes.SCOPES)


@pytest.fixture
def narrow(person: MakeUser) -> User:
    """May set providers up and keep people, and holds neither roles nor teams nor training."""
    held = ["admin:system", "admin:users", "models:read", "usage:read", "keys:write"]
    Role.objects.create(name="desk", scopes=held)
    return person("desk", "desk", PASSWORD)


def wanted(at: str, **more: Any) -> dict[str, Any]:
    return {"name": "Corp", "issuer": at, "client_id": "hub", "client_secret": SECRET} | more


class TestProviders:
    def test_it_is_added_shown_changed_and_removed(self, root: Call, idp: lying.Provider) -> None:
        made = root("POST", "providers", wanted(idp.issuer, roles={"ops": "operator"}))
        assert made.status_code == 201, made.content
        slug = made.json()["slug"]
        changed = root(
            "PUT", f"providers/{slug}", wanted(idp.issuer, name="Corporation", client_secret="")
        )
        assert changed.status_code == 200, changed.content
        assert Provider.objects.get().client_secret == SECRET
        listed = root("GET", "providers").json()["results"]
        assert [(one["slug"], one["name"], one["roles"]) for one in listed] == [
            (slug, "Corporation", {})
        ]
        for answer in (made, changed, root("GET", f"providers/{slug}")):
            assert SECRET not in answer.content.decode()
        with connection.cursor() as cursor:
            cursor.execute("SELECT client_secret FROM accounts_provider")
            assert SECRET not in cursor.fetchone()[0]
        assert SECRET not in str([*AuditRow.objects.values_list("before", "after")])
        assert root("DELETE", f"providers/{slug}").status_code == 204
        assert root("GET", f"providers/{slug}").status_code == 404

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"issuer": "http://127.0.0.1:1"}, "issuer"),
            ({"default_role": "emperor"}, "default_role"),
            ({"roles": {"ops": "emperor"}}, "roles"),
            ({"is_staff": True}, "is_staff"),
            ({"name": " "}, "name"),
        ],
    )
    def test_it_says_what_is_wrong(
        self, root: Call, idp: lying.Provider, change: dict[str, Any], param: str
    ) -> None:
        answer = root("POST", "providers", wanted(idp.issuer, **change))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert not Provider.objects.exists()

    def test_nobody_maps_to_what_they_do_not_hold(self, narrow: User, idp: lying.Provider) -> None:
        """Else who may set up a provider signs in by one of their own, as an administrator."""
        call, page = calls(narrow, "admin:system", "admin:users"), Client()
        password_step(page, "desk")
        Team.objects.create(name="red")
        for more in ({"default_role": "admin"}, {"roles": {"x": "admin"}}, {"teams": {"x": "red"}}):
            assert call("POST", "providers", wanted(idp.issuer, **more)).status_code == 403, more
        form = wanted(idp.issuer) | {"enabled": "on", "role_lines": "x = admin"}
        assert page.post("/access/sign-in/new/", form).status_code == 400
        assert not Provider.objects.exists()

    def test_nor_takes_over_a_provider_that_does(self, narrow: User, idp: lying.Provider) -> None:
        call, page = calls(narrow, "admin:system", "admin:users"), Client()
        password_step(page, "desk")
        fields = {"issuer": "https://id.example.org", "client_id": "c"}
        row = Provider.objects.create(slug="corp", name="Corp", roles={"x": "admin"}, **fields)
        assert call("PUT", "providers/corp", wanted(idp.issuer)).status_code == 403
        assert call("DELETE", "providers/corp").status_code == 403
        assert page.post("/access/sign-in/edit/corp/", wanted(idp.issuer)).status_code == 400
        page.post("/access/sign-in/remove/corp/")
        row.refresh_from_db()
        assert (row.issuer, row.roles) == ("https://id.example.org", {"x": "admin"})


class TestApplications:
    APP = {
        "name": "Notes",
        "scopes": ["models:read"],
        "redirect_uris": ["https://app.example.org/b"],
    }

    def test_the_secret_is_shown_once(self, root: Call) -> None:
        made = root("POST", "applications", self.APP)
        assert made.status_code == 201, made.content
        secret, client_id = made.json()["client_secret"], made.json()["client_id"]
        assert len(secret) > 30
        for path in ("applications", f"applications/{client_id}"):
            assert secret not in root("GET", path).content.decode()
        assert secret not in Application.objects.get().client_secret
        assert root("DELETE", f"applications/{client_id}").status_code == 204
        assert not Application.objects.exists()

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"redirect_uris": ["http://evil.example/"]}, "redirect_uris"),
            ({"redirect_uris": []}, "redirect_uris"),
            ({"scopes": ["no:such"]}, "scopes"),
            ({"service": "nobody"}, "service"),
            ({"client_id": "mine"}, "client_id"),
        ],
    )
    def test_it_says_what_is_wrong(self, root: Call, change: dict[str, Any], param: str) -> None:
        answer = root("POST", "applications", self.APP | change)
        assert answer.status_code in {400, 403}, answer.content
        assert answer.json()["error"]["param"] == param
        assert not Application.objects.exists()

    def test_those_of_others_are_not_there(self, root: Call, person: MakeUser) -> None:
        client_id = root("POST", "applications", self.APP).json()["client_id"]
        eve = calls(person("eve", "developer"), "keys:write", "models:read")
        assert eve("GET", "applications").json()["count"] == 0
        for method in ("GET", "DELETE"):
            assert eve(method, f"applications/{client_id}").status_code == 404
        assert Application.objects.exists()
