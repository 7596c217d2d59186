"""Limits under /api/v1: who may set whose, what a wrong value is told, and what then holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import keys, limit_rows, quota
from accounts.models import AuditRow, Limit, Team, User
from accounts.quota import Quota
from hub.config import HubConfig
from inference.models import Alias, Model
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db
Call = Callable[..., Any]


def with_key(user: User, *scopes: str) -> Client:
    _, key = keys.issue(user, "k", scopes, by=session_of(user))
    return Client(headers={"x-api-key": key})


@pytest.fixture
def admin(person: MakeUser) -> User:
    return person("root", role="admin")


@pytest.fixture
def call(admin: User) -> Call:
    """Call with a key of the admin's, with JSON in and out."""
    client = with_key(admin, "admin:users", "admin:teams", "models:read")

    def call(method: str, path: str, body: object = None) -> Any:
        extra = {"data": body, "content_type": "application/json"} if body is not None else {}
        return getattr(client, method)(f"/api/v1/limits{path}", **extra)

    return call


def test_it_sets_shows_and_forgets(call: Call, person: MakeUser) -> None:
    person("ann")
    made = call("patch", "/user/ann", {"requests_per_minute": 7, "storage_bytes": 10**9})
    assert made.json()["requests_per_minute"] == 7
    assert made.json()["tokens_per_hour"] is None
    call("patch", "/user/ann", {"tokens_per_hour": 0})
    shown = call("get", "/user/ann").json()
    assert (shown["requests_per_minute"], shown["tokens_per_hour"]) == (7, 0)
    assert [one["name"] for one in call("get", "").json()["results"]] == ["ann"]
    assert call("delete", "/user/ann").status_code == 204
    assert call("get", "").json()["count"] == 0
    actions = [*AuditRow.objects.order_by("seq").values_list("action", flat=True)]
    assert [name for name in actions if name.startswith("limit")] == [
        "limit.put",
        "limit.put",
        "limit.drop",
    ]


def test_nothing_set_leaves_no_row(call: Call, person: MakeUser) -> None:
    person("ann")
    call("patch", "/user/ann", {"requests_per_minute": 7})
    call("patch", "/user/ann", {"requests_per_minute": None})
    assert not Limit.objects.exists()


def test_every_kind_is_found_by_its_name(call: Call, admin: User) -> None:
    key, _ = keys.issue(admin, "k", by=session_of(admin))
    team = Team.objects.create(name="red team")
    Model.objects.create(name="org/m", kind="llm", engine="fake", path="/m")
    subjects = {
        "/everyone": "everyone",
        f"/key/{key.public_id}": f"key:{key.public_id}",
        "/team/red team": f"team:{team.pk}",
        "/model/org/m": "model:org/m",
    }
    for path, subject in subjects.items():
        assert call("patch", path, {"concurrent_requests": 3}).status_code == 200, path
        assert limit_rows.of(subject)["concurrent_requests"] == 3
    assert call("get", "").json()["count"] == 4


@pytest.mark.parametrize(
    "path", ["/user/nobody", "/key/abc", "/team/none", "/model/none", "/planet/earth"]
)
def test_who_is_not_there_has_no_limits(call: Call, path: str) -> None:
    assert call("get", path).status_code == 404
    assert call("patch", path, {"requests_per_minute": 1}).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"requests_per_minute": 1.5}, "requests_per_minute"),
        ({"requests_per_minute": "5"}, "requests_per_minute"),
        ({"tokens_per_hour": 10**16}, "tokens_per_hour"),
        ({"subject": "everyone"}, "subject"),
        ({"per_day": 1}, "per_day"),
    ],
)
def test_a_wrong_limit_is_told_by_name(call: Call, body: dict[str, Any], param: str) -> None:
    answer = call("patch", "/everyone", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not Limit.objects.exists()


@pytest.mark.parametrize("name", ["storage_bytes", "training_minutes"])
def test_a_key_and_a_model_have_no_quotas(call: Call, admin: User, name: str) -> None:
    key, _ = keys.issue(admin, "k", by=session_of(admin))
    Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
    for path in (f"/key/{key.public_id}", "/model/m"):
        error = call("patch", path, {name: 5, "requests_per_minute": 1})
        assert (error.status_code, error.json()["error"]["param"]) == (400, name)
        assert "a person, a team or everyone" in error.json()["error"]["message"]
        assert call("patch", path, {name: None}).status_code == 200
    assert not Limit.objects.exists()


def test_another_name_of_a_model_has_no_limits(call: Call, settings: Settings) -> None:
    model = Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
    other = Model.objects.create(name="n", kind="llm", engine="fake", path="/n")
    Alias.objects.create(name="plain", target=model)
    targets = [{"model": one.name, "weight": 1.0} for one in (model, other)]
    Alias.objects.create(name="split", target=model, targets=targets)
    settings.HUB_CONFIG = HubConfig(model_mapping={"gpt": "n"})
    for name, leads_to in {"plain": "m", "gpt": "n", "split": "m, n"}.items():
        answer = call("patch", f"/model/{name}", {"requests_per_minute": 1})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name"), name
        assert leads_to in answer.json()["error"]["message"]
    assert not Limit.objects.exists()


def test_only_who_manages_people_may(person: MakeUser) -> None:
    client = with_key(person("op", role="operator"), "models:read", "usage:all")
    assert client.get("/api/v1/limits").status_code == 403
    path = "/api/v1/limits/user/op"
    done = client.patch(path, {"requests_per_minute": 0}, content_type="application/json")
    assert done.status_code == 403
    own = client.get("/api/v1/limits/own").json()
    assert [one["kind"] for one in own] == ["key", "user"]


class TestWhatHolds:
    def subjects(self, user: User, key: str | None = None, model: str = "") -> dict[str, Quota]:
        quota.forget()
        quota.refresh_now()
        who = session_of(user)
        if key is not None:
            who = replace(who, counted_key=key)
        return {one.name: one.quota for one in quota.subjects_of(who, model)}

    def put(self, subject: str, **limits: int) -> None:
        Limit.objects.create(subject=subject, **limits)

    def test_everyones_row_stands_over_the_file(self, person: MakeUser) -> None:
        self.put("everyone", requests_per_minute=9)
        ann = person("ann")
        assert self.subjects(ann)[f"user:{ann.pk}"].requests_per_minute == 9

    def test_own_rows_stand_over_everyones_and_zero_lifts(self, person: MakeUser) -> None:
        ann = person("ann")
        self.put("everyone", requests_per_minute=9, tokens_per_hour=50)
        self.put(f"user:{ann.pk}", requests_per_minute=0)
        self.put("key:k1", tokens_per_hour=5)
        held = self.subjects(ann, "k1")
        assert held[f"user:{ann.pk}"].requests_per_minute == 0
        assert held[f"user:{ann.pk}"].tokens_per_hour == 50
        assert held["key:k1"].tokens_per_hour == 5

    def test_a_team_and_a_model_count_only_with_a_row(self, person: MakeUser) -> None:
        ann = person("ann")
        assert [*self.subjects(ann, model="m")] == [f"user:{ann.pk}"]
        self.put(f"team:{ann.team_id}", concurrent_requests=2)
        self.put("model:m", concurrent_requests=1)
        held = self.subjects(ann, model="m")
        assert held[f"team:{ann.team_id}"] == Quota(concurrent_requests=2)
        assert held["model:m"] == Quota(concurrent_requests=1)
