"""Usage under /api/v1: own for everybody, all for who may see it, grouped, paged, as a file."""

import csv
import datetime as dt
import io
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import scopes, teams, usage_rows
from accounts.models import AuditRow, Price, Role, Team, User
from inference.models import Alias, Model
from tests.accounts.conftest import MakeUser
from tests.accounts.test_ledger import entry
from tests.accounts.test_limits_api import with_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann")


@pytest.fixture
def root(person: MakeUser) -> User:
    return person("root", role="admin")


@pytest.fixture
def used(ann: User, root: User) -> None:
    """Three requests of ann, one of root, one of ann a day before."""
    now_s = timezone.now().timestamp()
    mine: dict[str, Any] = {"user_id": ann.pk, "username": "ann", "at_s": now_s}
    usage_rows.put(
        [
            entry(**mine),
            entry(**mine, model="other", alias="gpt-4o", first_token_ms=50),
            entry(**mine, status=429, error_code="rate_limit_exceeded", prompt_tokens=0),
            entry(**(mine | {"at_s": now_s - 86_400})),
            entry(user_id=root.pk, username="root", at_s=now_s, model="=cmd()"),
        ]
    )


def get(client: Client, user: User, path: str, **query: str) -> Any:
    client.force_login(user)
    return client.get(f"/api/v1/{path}", query)


@pytest.mark.usefixtures("used")
class TestUsage:
    def test_it_sums_up_ones_own(self, client: Client, ann: User) -> None:
        [line] = get(client, ann, "usage").json()["results"]
        assert (line["requests"], line["failed"], line["prompt_tokens"]) == (4, 1, 30)

    def test_everyones_is_for_who_may_see_it(self, client: Client, ann: User, root: User) -> None:
        assert get(client, ann, "usage", everyone="true").status_code == 403
        lines = get(client, root, "usage", everyone="true", group_by="user").json()["results"]
        assert {line["username"]: line["requests"] for line in lines} == {"ann": 4, "root": 1}

    def test_it_groups_by_several(self, client: Client, ann: User) -> None:
        lines = get(client, ann, "usage", group_by="day,model").json()["results"]
        assert [(line["model"], line["requests"]) for line in lines] == [
            ("chat", 1),
            ("chat", 2),
            ("other", 1),
        ]
        assert lines[0]["day"] < lines[1]["day"]

    def test_it_narrows(self, client: Client, ann: User) -> None:
        [line] = get(client, ann, "usage", alias="gpt-4o").json()["results"]
        assert (line["requests"], line["mean_first_token_ms"]) == (1, 50)
        since = (timezone.now() - dt.timedelta(hours=5)).isoformat()
        [line] = get(client, ann, "usage", **{"from": since}).json()["results"]
        assert line["requests"] == 3

    def test_it_lists_single_requests(self, client: Client, ann: User) -> None:
        found = get(client, ann, "usage/requests", page_size="2").json()
        assert (found["count"], len(found["results"])) == (4, 2)
        assert {row["username"] for row in found["results"]} == {"ann"}

    def test_the_file_runs_nothing(self, client: Client, root: User) -> None:
        answer = get(client, root, "usage/csv", everyone="true", group_by="model")
        assert answer["Content-Type"].startswith("text/csv")
        rows = [*csv.DictReader(io.StringIO(answer.content.decode()))]
        assert {row["model"]: row["requests"] for row in rows} == {
            "chat": "3",
            "other": "1",
            "'=cmd()": "1",
        }

    @pytest.mark.parametrize(
        "query",
        [
            {"group_by": "planet"},
            {"group_by": "hour,day"},
            {"from": "2026-11-26T00:00:00Z", "to": "2026-11-25T00:00:00Z"},
            {"from": "yesterday"},
            {"everyone": "maybe"},
        ],
    )
    def test_a_wrong_wish_is_told(self, client: Client, ann: User, query: dict[str, str]) -> None:
        answer = get(client, ann, "usage", **query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))


@pytest.fixture
def private(ann: User, client: Client) -> Team:
    """A team with a model of its own and a request for it, beside one of the default team."""
    red = teams.create("red")
    row = {"kind": "llm", "engine": "fake", "path": "/m", "visibility": "team", "team": red}
    model = Model.objects.create(name="secret", **row)
    Alias.objects.create(name="hush", target=model, team=red, visibility="team")
    now_s, default = timezone.now().timestamp(), Team.objects.get(is_default=True)
    mine: dict[str, Any] = {"user_id": ann.pk, "username": "ann", "at_s": now_s}
    usage_rows.put(
        [
            entry(**mine, team_id=red.pk, model="secret", alias="hush", adapter="secret"),
            entry(**mine, team_id=default.pk),
        ]
    )
    Price.objects.create(model="secret")
    return red


class TestUsageOfTeams:
    def test_a_right_of_one_team_shows_its_use_only(
        self, client: Client, private: Team, person: MakeUser
    ) -> None:
        teams.add(private, rob := person("rob"), None, role="operator")
        query = {"everyone": "true", "group_by": "team"}
        lines = get(client, rob, "usage", **query).json()["results"]
        assert [(line["team"], line["requests"]) for line in lines] == [("red", 1)]
        [row] = get(client, rob, "usage/requests", everyone="true").json()["results"]
        assert (row["team"], row["model"], row["alias"]) == ("red", "secret", "hush")
        text = get(client, rob, "usage/csv", **query).content.decode()
        assert ("red" in text, "default" in text) == (True, False)
        page = client.get("/usage/", {"by": "team"}).content.decode()
        assert "team=red" in page
        assert "team=default" not in page

    @pytest.mark.usefixtures("private")
    def test_names_that_are_not_there_for_somebody_are_left_out(
        self, client: Client, person: MakeUser, root: User
    ) -> None:
        opa = person("opa", role="operator")
        Role.objects.create(name="watch", scopes=[*scopes.ROLES["developer"], "usage:all"])
        eve, query = person("eve", role="watch"), {"everyone": "true"}
        group = query | {"group_by": "model,alias,adapter"}
        asked = [
            ("usage", group),
            ("usage/csv", group),
            ("usage/requests", query),
            ("prices", {}),
        ]
        for path, wish in asked:
            answer = get(client, eve, path, **wish)
            assert answer.status_code == 200
            text = answer.content.decode()
            assert ("secret" in text, "hush" in text) == (False, False), path
            assert "secret" in get(client, root, path, **wish).content.decode(), path
        client.force_login(eve)
        for by in ("model", "alias", "adapter"):
            for path in ("/usage/", "/usage/csv/"):
                text = client.get(path, {"by": by}).content.decode()
                assert ("secret" in text, "hush" in text) == (False, False), (path, by)
        lines = get(client, eve, "usage", **group).json()["results"]
        assert sum(line["requests"] for line in lines) == 2
        for name, value in (("model", "secret"), ("alias", "hush"), ("adapter", "secret")):
            assert get(client, eve, "usage", **query, **{name: value}).json()["results"] == []
        assert get(client, opa, "usage", **query).json()["results"][0]["requests"] == 2


class TestPrices:
    def put(self, client: Client, body: object, model: str = "m") -> Any:
        path = f"/api/v1/prices/{model}"
        return client.put(path, body, content_type="application/json")

    def test_an_admin_sets_them(self, client: Client, ann: User, root: User) -> None:
        Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
        body = {"prompt": "2.5", "completion": "10"}
        assert self.put(with_key(ann, "usage:read"), body).status_code == 403
        admin = with_key(root, "admin:system", "models:read")
        assert self.put(admin, body).json()["cached"] == "2.500000"
        assert get(client, ann, "prices").json()["results"][0]["completion"] == "10.000000"
        assert admin.delete("/api/v1/prices/m").status_code == 204
        assert not Price.objects.exists()
        rows = AuditRow.objects.count()
        assert admin.delete("/api/v1/prices/m").status_code == 404
        assert AuditRow.objects.count() == rows

    def test_another_name_of_a_model_has_none(self, root: User) -> None:
        """Use is counted under the model: a price of the name would never be asked for."""
        model = Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
        Alias.objects.create(name="gpt-4o", target=model)
        admin = with_key(root, "admin:system", "models:read")
        answer = self.put(admin, {"prompt": "2.5", "completion": "10"}, "gpt-4o")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
        assert "leads to m" in answer.json()["error"]["message"]
        assert not Price.objects.exists()

    def test_a_wrong_one_is_told(self, root: User) -> None:
        admin = with_key(root, "admin:system", "models:read")
        assert self.put(admin, {"prompt": "1", "completion": "1"}, "none").status_code == 404
        Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
        for wrong in ("-1", "nan", "many", "1e9"):
            answer = self.put(admin, {"prompt": wrong, "completion": "1"})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt"), wrong
