"""Service accounts for the whole hub: who makes and keeps them, where their role holds, how they end."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import audit, keys, people, principals, service_accounts, teams
from accounts.authentication import Refused, authenticate_now
from accounts.denials import NotAllowed
from accounts.models import ApiKey, Application, AuditRow, Membership, Role, Team, User
from tests.accounts.application_cases import register
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.test_keys_api import error_of
from tests.accounts.test_people_api import Call, caller, caller_in

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Any]
NEW: dict[str, Any] = {"name": "bot", "is_hub_wide": True, "contact": "ops@example.org"}


@pytest.fixture
def admin(person: MakeUser) -> Call:
    return caller(person("ada", "admin"))


@pytest.fixture
def red(person: MakeUser) -> Team:
    team = teams.create("red")
    teams.add(team, person("manu", "operator"), None, Membership.Level.MANAGER)
    return team


def rights(plaintext: str) -> principals.Principal:
    return authenticate_now({"x-api-key": plaintext}, None)


class TestByApi:
    def test_an_administrator_makes_one_for_the_whole_hub(self, admin: Call, red: Team) -> None:
        made = admin("POST", "service_accounts", role="operator", description="CI", **NEW)
        assert made.status_code == 201, made.content
        shown = made.json()
        assert (shown["team"], shown["is_hub_wide"], shown["role"]) == (None, True, "operator")
        assert (shown["contact"], shown["description"]) == ("ops@example.org", "CI")
        key = admin("POST", "keys", name="k", user="bot", scopes=["models:write"]).json()
        assert rights(key["key"]).allows_on_hub("models:write")
        assert rights(key["key"]).allows_in("models:write", red.pk)

    def test_it_is_its_makers_to_answer_for_where_nobody_is_named(self, admin: Call) -> None:
        made = admin("POST", "service_accounts", name="bot", is_hub_wide=True)
        assert made.json()["contact"] == "ada"

    @pytest.mark.parametrize("body", [{}, {"team": "red", "is_hub_wide": True}])
    def test_it_is_of_a_team_or_of_the_hub(
        self, admin: Call, red: Team, body: dict[str, Any]
    ) -> None:
        error = error_of(admin("POST", "service_accounts", name="bot", **body), 400)
        assert error["param"] == "team"

    def test_a_manager_of_a_team_makes_none(self, red: Team) -> None:
        manu = caller_in(User.objects.get(username="manu"), red)
        error_of(manu("POST", "service_accounts", **NEW), 403)
        assert manu("POST", "service_accounts", name="own", team="red").status_code == 201
        assert manu("GET", "service_accounts/own").json()["team"] == "red"

    def test_nobody_gives_it_a_role_that_they_do_not_hold(self, person: MakeUser) -> None:
        Role.objects.create(name="hr", scopes=["admin:users", "teams:*", "keys:*"])
        hr = caller(person("hr", "hr"))
        for role in ("admin", "operator", "developer"):
            error_of(hr("POST", "service_accounts", role=role, **NEW), 403)
        assert not User.objects.filter(username="bot").exists()
        person("ada", "admin")
        service_accounts.create("bot", None, "operator")
        error_of(hr("PATCH", "service_accounts/bot", is_active=False), 403)
        error_of(hr("DELETE", "service_accounts/bot"), 403)

    def test_a_right_of_one_team_makes_none_that_holds_everywhere(
        self, red: Team, person: MakeUser
    ) -> None:
        own = ["admin:users", "teams:*", "keys:*", "inference:*", "models:read"]
        Role.objects.create(name="hr", scopes=own)
        hr = person("hr", "hr")
        teams.add(red, hr, None, Membership.Level.MANAGER, role="operator")
        call = caller_in(hr, red)
        error_of(call("POST", "service_accounts", role="operator", **NEW), 403)
        body = {"name": "own", "team": "red", "role": "operator"}
        assert call("POST", "service_accounts", **body).status_code == 201

    @pytest.mark.parametrize("field", ["team", "is_hub_wide", "is_superuser", "kind", "password"])
    def test_it_does_not_move_or_become_another(self, admin: Call, red: Team, field: str) -> None:
        admin("POST", "service_accounts", name="own", team="red")
        error = error_of(admin("PATCH", "service_accounts/own", **{field: "default"}), 400)
        assert (error["param"], error["code"]) == (field, "unknown_parameter")

    def test_it_is_changed_and_shows_its_last_use(self, admin: Call) -> None:
        admin("POST", "service_accounts", **NEW)
        key = admin("POST", "keys", name="k", user="bot", scopes=["inference"]).json()
        ApiKey.objects.filter(public_id=key["id"]).update(last_used_at="2026-01-02T03:04:05Z")
        body = {"role": "viewer", "contact": "sue", "description": "reports"}
        shown = admin("PATCH", "service_accounts/bot", **body).json()
        assert {name: shown[name] for name in body} == body
        assert shown["last_used_at"].startswith("2026-01-02T03:04:05")

    def test_its_keys_end_with_it(self, admin: Call) -> None:
        admin("POST", "service_accounts", **NEW)
        key = admin("POST", "keys", name="k", user="bot", scopes=["inference"]).json()
        assert rights(key["key"]).username == "bot"
        admin("PATCH", "service_accounts/bot", is_active=False)
        with pytest.raises(Refused, match="disabled"):
            rights(key["key"])
        admin("PATCH", "service_accounts/bot", is_active=True)
        assert rights(key["key"]).username == "bot"
        assert admin("DELETE", "service_accounts/bot").json()["keys"] == 1
        with pytest.raises(Refused):
            rights(key["key"])

    def test_the_log_tells_all_of_it(self, admin: Call) -> None:
        before = AuditRow.objects.count()
        admin("POST", "service_accounts", **NEW)
        admin("PATCH", "service_accounts/bot", contact="sue")
        admin("DELETE", "service_accounts/bot")
        rows = AuditRow.objects.filter(object_kind="service_account", seq__gt=before).order_by(
            "seq"
        )
        verbs = [f"service_account.{verb}" for verb in ("create", "change", "remove")]
        assert [row.action for row in rows] == verbs
        told = [json.loads(text)["contact"] for text in (rows[1].before, rows[1].after)]
        assert told == ["ops@example.org", "sue"]
        assert audit.verify().fault is None


class TestInTeams:
    def test_managers_take_it_in_and_out_but_keep_neither_it_nor_its_keys(
        self, admin: Call, red: Team
    ) -> None:
        manu = caller_in(User.objects.get(username="manu"), red)
        admin("POST", "service_accounts", role="operator", **NEW)
        assert manu("POST", "teams/red/members", user="bot").status_code == 201
        assert manu("GET", "service_accounts").json()["results"] == []
        for method in ("GET", "PATCH", "DELETE"):
            error_of(manu(method, "service_accounts/bot"), 404)
        error_of(manu("POST", "keys", name="k", user="bot", team="red"), 403)
        key = admin("POST", "keys", name="k", user="bot", team="red", scopes=["inference"]).json()
        assert rights(key["key"]).teams == {red.pk}
        error_of(manu("POST", f"keys/{key['id']}/rotate"), 403)
        assert manu("DELETE", "teams/red/members/bot").status_code == 204
        with pytest.raises(Refused, match="left its team"):
            rights(key["key"])

    def test_one_of_another_team_does_not_come_in(self, admin: Call, red: Team) -> None:
        admin("POST", "service_accounts", name="own", team="default")
        error_of(admin("POST", "teams/red/members", user="own"), 404)
        with pytest.raises(NotAllowed):
            teams.add(red, User.objects.get(username="own"), None)

    def test_it_stays_when_a_team_goes(self, admin: Call, red: Team) -> None:
        admin("POST", "service_accounts", **NEW)
        admin("POST", "service_accounts", name="own", team="red")
        admin("POST", "teams/red/members", user="bot")
        User.objects.filter(username="bot").update(team=red)
        assert admin("DELETE", "teams/red").json()["service_accounts"] == 1
        assert [row["name"] for row in admin("GET", "service_accounts").json()["results"]] == [
            "bot"
        ]


class TestItsApplications:
    def test_they_stay_when_whoever_registered_them_leaves(
        self, admin: Call, person: MakeUser
    ) -> None:
        eve = person("eve", "admin")
        bot = service_accounts.create("bot", None, "developer")
        app, secret = register(eve, service=bot)
        register(eve, name="Own")
        assert admin("DELETE", "users/eve").status_code == 200
        left = {one["name"]: one["owner"] for one in admin("GET", "applications").json()["results"]}
        assert left == {"Notes": None}
        body = {"grant_type": "client_credentials", "client_id": app.client_id}
        answer = Client().post("/oauth/token/", body | {"client_secret": secret})
        token = answer.json()["access_token"]
        assert authenticate_now({"authorization": f"Bearer {token}"}, None).username == "bot"
        assert admin("DELETE", "service_accounts/bot").status_code == 200
        with pytest.raises(Refused):
            authenticate_now({"authorization": f"Bearer {token}"}, None)
        assert not Application.objects.exists()


class TestSigningIn:
    def test_it_has_no_password_and_gets_none(self, admin: Call, client: Client) -> None:
        admin("POST", "service_accounts", **NEW)
        bot = User.objects.get(username="bot")
        assert not client.login(username="bot", password="")
        with pytest.raises(NotAllowed, match="keys only"):
            people.change(bot, session_of(User.objects.get(username="ada")), password=PASSWORD)


class TestByCommand:
    def test_it_makes_changes_and_removes(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("create_service_account", "--name", "bot", "--hub-wide", "--contact", "sue")
        bot = User.objects.get(username="bot")
        assert (bot.is_hub_wide, bot.contact, bot.role) == (True, "sue", "developer")
        _, plaintext = keys.issue(bot, "k", ["inference"], by=principals.operator_for(bot))
        call_command("change_service_account", "--name", "bot", "--role", "viewer", "--disable")
        bot.refresh_from_db()
        assert (bot.role, bot.is_active) == ("viewer", False)
        with pytest.raises(Refused):
            rights(plaintext)
        call_command("change_service_account", "--name", "bot", "--remove")
        assert "keys that ended: 1" in capsys.readouterr().out
        assert not User.objects.filter(username="bot").exists()
        assert audit.verify().fault is None

    @pytest.mark.parametrize("more", [[], ["--hub-wide", "--team", "default"]])
    def test_it_asks_for_a_team_or_the_hub(self, more: list[str]) -> None:
        with pytest.raises(CommandError):
            call_command("create_service_account", "--name", "bot", *more)

    @pytest.mark.parametrize(("name", "more"), [("bo", ["--remove"]), ("bot", [])])
    def test_it_says_what_is_missing(self, person: MakeUser, name: str, more: list[str]) -> None:
        person("bo")
        service_accounts.create("bot", None, "viewer")
        with pytest.raises(CommandError):
            call_command("change_service_account", "--name", name, *more)
        assert User.objects.filter(username__in=["bo", "bot"], is_active=True).count() == 2
