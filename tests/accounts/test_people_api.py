"""`/api/v1/users`, `teams`, `roles`, `service_accounts`: nobody gives or takes what they do not hold."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import keys, limit_rows, people, principals, scopes, teams
from accounts.authentication import Refused, authenticate_now
from accounts.denials import NotAllowed
from accounts.models import ApiKey, Limit, Membership, Role, Team, User
from inference.models import Alias, Model
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.test_keys_api import error_of

pytestmark = pytest.mark.django_db(transaction=True)
API = "/api/v1"
Call = Callable[..., Any]


def caller(user: User) -> Call:
    """Call the API with a key that may do all that its owner may."""
    wanted = sorted(principals.of_user(user).scopes)
    _, plaintext = keys.issue(user, "api", wanted, by=session_of(user))
    client = Client(headers={"x-api-key": plaintext})

    def call(method: str, path: str, **body: Any) -> Any:
        return client.generic(method, f"{API}/{path}", _json(body), content_type="application/json")

    return call


def _json(body: dict[str, Any]) -> str:
    import json  # noqa: PLC0415 (only here)

    return json.dumps(body) if body else ""


@pytest.fixture
def admin(person: MakeUser) -> Call:
    return caller(person("ada", "admin"))


@pytest.fixture
def red(person: MakeUser) -> Team:
    """A team with a manager and a member."""
    team = teams.create("red")
    teams.add(team, person("manu"), None, Membership.Level.MANAGER)
    teams.add(team, person("mimi"), None)
    return team


def manager_of(team: Team) -> Call:
    manu = User.objects.get(username="manu")
    _, plaintext = keys.issue(manu, "api", sorted(manu.scopes), by=session_of(manu), team=team)
    client = Client(headers={"x-api-key": plaintext})
    return lambda method, path, **body: client.generic(
        method, f"{API}/{path}", _json(body), content_type="application/json"
    )


def caller_in(user: User, team: Team) -> Call:
    """Call with a key of a team that may do all that its owner may there."""
    there = principals.of_member(user, team.pk)
    assert there is not None
    _, plaintext = keys.issue(user, "api", sorted(there.scopes), by=session_of(user), team=team)
    client = Client(headers={"x-api-key": plaintext})
    return lambda method, path, **body: client.generic(
        method, f"{API}/{path}", _json(body), content_type="application/json"
    )


class TestUsers:
    def test_it_makes_changes_and_removes(self, admin: Call) -> None:
        made = admin("POST", "users", username="bo", password=PASSWORD, role="viewer")
        assert made.status_code == 201
        assert (made.json()["role"], made.json()["teams"][0]["team"]) == ("viewer", "default")
        assert admin("PATCH", "users/bo", role="trainer").json()["role"] == "trainer"
        assert admin("GET", "users/bo").json()["is_active"] is True
        keys.issue(bo := User.objects.get(username="bo"), "k", by=session_of(bo))
        assert admin("DELETE", "users/bo").json() == {"keys": 1, "memberships": 1}
        error_of(admin("GET", "users/bo"), 404)

    def test_it_sets_a_password(self, admin: Call, client: Client, person: MakeUser) -> None:
        person("bo")
        assert admin("PATCH", "users/bo", password=PASSWORD).status_code == 200
        assert client.login(username="bo", password=PASSWORD)
        assert error_of(admin("PATCH", "users/bo", password="x"), 400)["param"] == "password"

    @pytest.mark.parametrize("field", ["is_staff", "is_superuser", "kind", "scopes", "team_id"])
    def test_it_refuses_other_fields(self, admin: Call, person: MakeUser, field: str) -> None:
        person("bo")
        error = error_of(admin("PATCH", "users/bo", **{field: True}), 400)
        assert (error["param"], error["code"]) == (field, "unknown_parameter")

    def test_the_last_administrator_stays(self, admin: Call, person: MakeUser) -> None:
        bodies: list[dict[str, Any]] = [{"role": "viewer"}, {"is_active": False}]
        answers = [admin("PATCH", "users/ada", **body) for body in bodies]
        for answer in [*answers, admin("DELETE", "users/ada")]:
            assert error_of(answer, 409)["code"] == "conflict"
        person("eve", "admin")
        assert admin("PATCH", "users/ada", role="viewer").status_code == 200

    def test_nobody_gives_or_takes_more_than_they_hold(self, person: MakeUser) -> None:
        Role.objects.create(name="hr", scopes=["admin:users", "keys:*", *scopes.ROLES["developer"]])
        hr = caller(person("hr", "hr"))
        person("ada", "admin")
        person("bo")
        assert hr("PATCH", "users/bo", role="viewer").status_code == 200
        for body in ({"role": "admin"}, {"role": "operator"}):
            assert error_of(hr("PATCH", "users/bo", **body), 403)["param"] == "role"
        error_of(hr("POST", "users", username="cy", password=PASSWORD, role="admin"), 403)
        changes: list[dict[str, Any]] = [{"is_active": False}, {"password": PASSWORD}]
        for change in [*changes, {"role": "viewer"}]:
            error_of(hr("PATCH", "users/ada", **change), 403)
        error_of(hr("DELETE", "users/ada"), 403)

    def test_nobody_takes_over_whoever_holds_more_in_a_team(
        self, admin: Call, red: Team, person: MakeUser
    ) -> None:
        Role.objects.create(name="help", scopes=["admin:users", "keys:*", *scopes.ROLES["viewer"]])
        helper = caller(person("hal", "help"))
        teams.add(red, person("vic", "viewer"), None, role="operator")
        teams.add(red, person("max", "viewer"), None, Membership.Level.MANAGER)
        teams.add(red, person("bo", "viewer"), None)
        changes: list[dict[str, Any]] = [{"password": PASSWORD}, {"is_active": False}]
        for name in ("vic", "max"):
            for change in [*changes, {"role": "viewer"}]:
                error_of(helper("PATCH", f"users/{name}", **change), 403)
            error_of(helper("DELETE", f"users/{name}"), 403)
        assert User.objects.filter(username__in=["vic", "max"], is_active=True).count() == 2
        assert helper("PATCH", "users/bo", password=PASSWORD).status_code == 200
        for name in ("vic", "max"):
            assert admin("PATCH", f"users/{name}", password=PASSWORD).status_code == 200

    def test_an_admin_of_a_narrow_team_keeps_its_people(self, red: Team, person: MakeUser) -> None:
        ada = person("ada", "admin")
        teams.add(red, ada, None)
        teams.add(red, person("vic"), None, role="operator")
        Team.objects.filter(pk=red.pk).update(scopes_allowed=["inference:*"])
        assert caller(ada)("PATCH", "users/vic", is_active=False).status_code == 200

    def test_a_right_of_one_team_is_given_to_nobody_on_the_hub(
        self, red: Team, person: MakeUser
    ) -> None:
        own = ["admin:users", "admin:roles", *scopes.ROLES["developer"]]
        Role.objects.create(name="hr", scopes=own)
        hr = person("hr", "hr")
        teams.add(red, hr, None, Membership.Level.MANAGER, role="operator")
        person("bo")
        call = caller_in(hr, red)
        for role in ("operator", "hr"):
            status = 403 if role == "operator" else 200
            assert call("PATCH", "users/bo", role=role).status_code == status
        error_of(call("POST", "users", username="cy", password=PASSWORD, role="operator"), 403)
        error_of(call("POST", "roles", name="x", scopes=["models:write"]), 403)
        assert call("POST", "roles", name="x", scopes=["models:write"], team="red").json()

    def test_an_unknown_role_holds_nothing(self, admin: Call, person: MakeUser) -> None:
        person("bo")
        error_of(admin("PATCH", "users/bo", role="root"), 400)


class TestTeams:
    def test_it_makes_changes_and_removes(self, admin: Call) -> None:
        assert admin("POST", "teams", name="blue").status_code == 201
        changed = admin("PATCH", "teams/blue", scopes=["inference:*"], models=["m"]).json()
        assert (changed["scopes"], changed["models"]) == (["inference:*"], ["m"])
        assert admin("DELETE", "teams/blue").status_code == 200
        error_of(admin("DELETE", "teams/default"), 409)
        error_of(admin("POST", "teams", name="default"), 409)

    def test_what_it_owns_goes_to_another(self, admin: Call, red: Team) -> None:
        model = Model.objects.create(
            name="m", kind="llm", engine="fake", path="/m", team=red, visibility="team"
        )
        Alias.objects.create(name="a", target=model, team=red, visibility="team")
        assert "1 model" in error_of(admin("DELETE", "teams/red"), 409)["message"]
        assert admin("DELETE", "teams/red?to=default").status_code == 200
        model.refresh_from_db()
        assert model.team.is_default
        assert Alias.objects.get().team.is_default

    def test_others_do_not_see_it(self, red: Team, person: MakeUser) -> None:
        outsider = caller(person("otto"))
        names = [team["name"] for team in outsider("GET", "teams").json()["results"]]
        assert names == ["default"]
        for method, path in (
            ("GET", "teams/red"),
            ("GET", "teams/red/members"),
            ("POST", "teams/red/members"),
            ("DELETE", "teams/red/members/mimi"),
            ("PATCH", "teams/red/members/mimi"),
        ):
            error_of(outsider(method, path, **({"user": "otto"} if method == "POST" else {})), 404)

    def test_a_manager_keeps_its_members(self, red: Team, person: MakeUser) -> None:
        person("bo", "viewer")
        manu = manager_of(red)
        added = manu("POST", "teams/red/members", user="bo", role="developer")
        assert added.status_code == 201
        rights = principals.of_user(User.objects.get(username="bo"))
        assert rights.allows_in("inference:chat", red.pk)
        assert not rights.allows_in("inference:chat", Team.objects.get(is_default=True).pk)
        error_of(manu("PATCH", "teams/red/members/bo", role="operator"), 403)
        assert manu("PATCH", "teams/red/members/bo", level="manager").status_code == 200
        assert manu("DELETE", "teams/red/members/bo").status_code == 204
        error_of(manu("PATCH", "teams/red", name="mine"), 403)

    def test_a_member_does_not(self, red: Team, person: MakeUser) -> None:
        person("bo")
        mimi = User.objects.get(username="mimi")
        _, plaintext = keys.issue(mimi, "k", sorted(mimi.scopes), by=session_of(mimi), team=red)
        client = Client(headers={"x-api-key": plaintext})
        body = {"user": "bo"}
        url = f"{API}/teams/red/members"
        error_of(client.post(url, body, content_type="application/json"), 403)
        error_of(client.delete(f"{url}/manu"), 403)
        assert client.delete(f"{url}/mimi").status_code == 204  # leaving is one's own


class TestRoles:
    def test_it_makes_changes_and_removes(self, admin: Call, person: MakeUser) -> None:
        made = admin("POST", "roles", name="reader", scopes=["models:read"])
        assert made.json()["built_in"] is False
        bo = person("bo", "reader")
        assert bo.scopes == {"models:read"}
        error_of(admin("DELETE", "roles/reader"), 409)
        admin("PATCH", "roles/reader", scopes=["status:read"])
        assert User.objects.get(username="bo").scopes == {"status:read"}
        assert admin("PATCH", "users/bo", role="viewer").status_code == 200
        assert admin("DELETE", "roles/reader").status_code == 204

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"name": "admin", "scopes": ["models:read"]}, 409),
            ({"name": "x", "scopes": []}, 400),
            ({"name": "x", "scopes": ["root"]}, 400),
            ({"name": "x y", "scopes": ["models:read"]}, 400),
            ({"name": "x", "scopes": ["models:read"], "built_in": True}, 400),
        ],
    )
    def test_it_refuses(self, admin: Call, body: dict[str, Any], status: int) -> None:
        error_of(admin("POST", "roles", **body), status)

    def test_a_manager_makes_roles_of_the_team_only(self, red: Team) -> None:
        manu = manager_of(red)
        error_of(manu("POST", "roles", name="x", scopes=["models:read"]), 403)
        body = {"name": "x", "scopes": ["inference:chat"], "team": "red"}
        assert manu("POST", "roles", **body).status_code == 201
        error_of(manu("POST", "roles", **body | {"name": "y", "scopes": ["models:write"]}), 403)
        assert manu("PATCH", "teams/red/members/mimi", role="x").status_code == 200
        assert [role["name"] for role in manu("GET", "roles").json()["results"]][-1] == "x"


class TestServiceAccounts:
    def test_a_manager_keeps_those_of_the_team(self, red: Team, client: Client) -> None:
        manu = manager_of(red)
        made = manu("POST", "service_accounts", name="bot", team="red", role="developer")
        assert made.status_code == 201
        error_of(manu("POST", "service_accounts", name="b", team="red", role="operator"), 403)
        key = manu("POST", "keys", name="k", user="bot", scopes=["inference"]).json()
        assert (key["owner"], key["team"]) == ("bot", "red")
        assert authenticate_now({"x-api-key": key["key"]}, None).team_id == red.pk
        assert not client.login(username="bot", password="")
        assert manu("PATCH", "service_accounts/bot", is_active=False).status_code == 200
        with pytest.raises(Refused):
            authenticate_now({"x-api-key": key["key"]}, None)
        assert manu("DELETE", "service_accounts/bot").json()["keys"] == 1

    def test_others_do_not_see_it(self, red: Team, person: MakeUser) -> None:
        manager_of(red)("POST", "service_accounts", name="bot", team="red")
        outsider = caller(person("otto"))
        assert outsider("GET", "service_accounts").json()["results"] == []
        for method in ("GET", "PATCH", "DELETE"):
            error_of(outsider(method, "service_accounts/bot"), 404)
        error_of(outsider("POST", "service_accounts", name="b", team="red"), 404)
        error_of(outsider("POST", "keys", name="k", user="bot"), 403)

    @pytest.mark.parametrize("role", ["operator", "own"])
    def test_its_role_holds_in_its_team_only(self, red: Team, person: MakeUser, role: str) -> None:
        mo = person("mo")
        teams.add(red, mo, None, Membership.Level.MANAGER, role="operator")
        call, asked = caller_in(mo, red), ["models:read", "models:load", "models:write"]
        assert call("POST", "roles", name="own", scopes=asked, team="red").status_code == 201
        made = call("POST", "service_accounts", name="bot", team="red", role=role)
        assert made.status_code == 201, made.content
        key = call("POST", "keys", name="k", user="bot", team="red", scopes=asked).json()
        bot = Client(headers={"x-api-key": key["key"]})
        rights = principals.of_user(User.objects.get(username="bot"))
        for name, team, status in (("a", None, 403), ("b", red, 200)):
            given = {"team": team} if team else {}
            one = Model.objects.create(
                name=name, kind="llm", engine="fake", path="/m", visibility="hub", **given
            )
            Alias.objects.create(name=f"{name}{name}", target=one, visibility="hub", **given)
            body = {"sticky": True}
            url = f"{API}/aliases/{name}{name}"
            answer = bot.patch(url, body, content_type="application/json")
            assert answer.status_code == status, answer.content
            assert rights.allows_in("models:write", one.ownership[0]) is (status == 200)

    def test_another_role_is_one_that_is_held_in_its_team(
        self, red: Team, person: MakeUser
    ) -> None:
        mo = person("mo")
        teams.add(red, mo, None, Membership.Level.MANAGER)
        teams.add(teams.create("blue"), mo, None, role="operator")
        manu = caller_in(mo, red)
        assert manu("POST", "service_accounts", name="bot", team="red").status_code == 201
        bot = User.objects.get(username="bot")
        with pytest.raises(NotAllowed):
            people.change(bot, session_of(mo), role="operator")
        assert people.change(bot, session_of(mo), role="viewer").role == "viewer"


class TestKeysOfTeams:
    def test_a_key_ends_when_its_owner_leaves_the_team(self, red: Team) -> None:
        mimi = User.objects.get(username="mimi")
        _, plaintext = keys.issue(mimi, "k", by=session_of(mimi), team=red)
        assert authenticate_now({"x-api-key": plaintext}, None).teams == {red.pk}
        manu = manager_of(red)
        assert manu("DELETE", "teams/red/members/mimi").status_code == 204
        with pytest.raises(Refused, match="left its team"):
            authenticate_now({"x-api-key": plaintext}, None)

    def test_a_policy_narrows_every_key_of_the_team(self, admin: Call, red: Team) -> None:
        mimi = User.objects.get(username="mimi")
        _, plaintext = keys.issue(mimi, "k", ["inference"], by=session_of(mimi), team=red)
        admin("PATCH", "teams/red", scopes=["inference:embeddings"], models=["small"])
        who = authenticate_now({"x-api-key": plaintext}, None)
        assert who.scopes == {"inference:embeddings"}
        assert [who.allows_model("small"), who.allows_model("large")] == [True, False]

    def test_it_rotates_with_an_overlap(self, person: MakeUser) -> None:
        call = caller(person("bo"))
        first = call("POST", "keys", name="ci", scopes=["inference:chat"]).json()
        both = call("POST", f"keys/{first['id']}/rotate", overlap_s=60).json()
        assert (both["follows"], both["scopes"]) == (first["id"], ["inference:chat"])
        for key in (first["key"], both["key"]):
            assert authenticate_now({"x-api-key": key}, None).allows("inference:chat")
        last = call("POST", f"keys/{both['id']}/rotate").json()
        with pytest.raises(Refused, match="expired"):
            authenticate_now({"x-api-key": both["key"]}, None)
        assert authenticate_now({"x-api-key": last["key"]}, None).key_id == last["id"]
        error_of(call("POST", f"keys/{both['id']}/rotate"), 400)
        assert ApiKey.objects.get(public_id=last["id"]).follows is not None

    def test_the_limits_of_a_key_hold_for_the_one_that_follows(self, person: MakeUser) -> None:
        call = caller(person("bo"))
        first = call("POST", "keys", name="ci", scopes=["inference:chat"]).json()
        Limit.objects.create(subject=f"key:{first['id']}", tokens_per_hour=1_000)
        second = call("POST", f"keys/{first['id']}/rotate", overlap_s=60).json()
        assert limit_rows.of(f"key:{second['id']}")["tokens_per_hour"] == 1_000
        assert limit_rows.of(f"key:{first['id']}")["tokens_per_hour"] == 1_000

    def test_who_manages_sees_and_revokes_the_teams_keys(self, red: Team) -> None:
        mimi = User.objects.get(username="mimi")
        key, _ = keys.issue(mimi, "hers", by=session_of(mimi), team=red)
        own, _ = keys.issue(mimi, "elsewhere", by=session_of(mimi))
        manu = manager_of(red)
        assert {one["name"] for one in manu("GET", "keys").json()["results"]} == {"hers", "api"}
        error_of(manu("POST", f"keys/{key.public_id}/rotate"), 403)
        assert manu("DELETE", f"keys/{key.public_id}").json()["state"] == "revoked"
        error_of(manu("DELETE", f"keys/{own.public_id}"), 404)
