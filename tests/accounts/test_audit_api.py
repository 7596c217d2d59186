"""`/api/v1/audit` and the page: searched, taken as a file, walked; for who may read it alone."""

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client

from accounts import actors, audit, chain, exports, keys, verdicts
from accounts.actors import Actor
from accounts.models import AuditRow
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db
EVIL = "<script>alert('plum')</script>"


@pytest.fixture
def admin(person: MakeUser, client: Client) -> Client:
    client.force_login(person("ada", "admin"))
    return client


@pytest.fixture(autouse=True)
def _rows() -> None:
    with actors.acting(Actor("user", "zoe", 7, address="192.0.2.9", request_id="req_z")):
        audit.record("alias.change", "alias", "plum", before={"to": "a"}, after={"to": "b"})
        audit.record("model.add", "model", EVIL, after={"note": EVIL})
    with actors.acting(Actor("key", "yan", 8, key_id="K1")):
        audit.record("key.issue", "key", "K2", after={"name": "=1+1"})


def found(client: Client, **query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/audit", query)
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def test_it_lists_the_newest_first_with_before_and_after(admin: Client) -> None:
    rows = found(admin, who="zoe")
    assert [row["action"] for row in rows[:2]] == ["model.add", "alias.change"]
    assert (rows[1]["before"], rows[1]["after"]) == ({"to": "a"}, {"to": "b"})
    assert rows[1]["address"] == "192.0.2.9"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"who": "zoe", "action": "alias"}, ["plum"]),
        ({"who": "zoe", "action": "alias.change"}, ["plum"]),
        ({"who": "K1"}, ["K2"]),
        ({"who": "zoe", "object_kind": "alias"}, ["plum"]),
        ({"who": "zoe", "text": "192.0.2.9"}, [EVIL, "plum"]),
        ({"who": "zoe", "until": "2020-01-01T00:00:00Z"}, []),
        ({"who": "zoe", "text": "%"}, []),
        ({"who": "' OR 1=1 --"}, []),
    ],
)
def test_each_condition_narrows(admin: Client, query: dict[str, str], names: list[str]) -> None:
    rows = found(admin, **query)[: len(names) or None]
    assert [row["object_name"] for row in rows] == names


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"nonsense": "1"}, {"who": "x" * 151}, {"page": "0"}]
)
def test_a_wrong_condition_is_refused_by_name(admin: Client, query: dict[str, str]) -> None:
    answer = admin.get("/api/v1/audit", query)
    assert answer.status_code in {400, 404}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("role", ["viewer", "developer", "trainer", "operator"])
def test_nobody_else_reads_it(client: Client, person: MakeUser, role: str) -> None:
    client.force_login(person("bob", role))
    for path in ("/api/v1/audit", "/api/v1/audit/export", "/audit/", "/audit/export/csv/"):
        assert client.get(path).status_code == 403, path
    assert client.post("/api/v1/audit/verify").status_code == 403
    assert client.post("/audit/verify/").status_code == 403


def text_of(answer: Any) -> str:
    return b"".join(answer).decode()


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous")
@pytest.mark.parametrize("path", ["/api/v1/audit/export?kind=ndjson", "/audit/export/ndjson/"])
def test_the_file_is_the_chain(admin: Client, path: str) -> None:
    answer = admin.get(path)
    rows = list(exports.read(io.StringIO(text_of(answer))))
    verdict = chain.verify(rows)
    assert verdict.fault is None
    assert (verdict.last, verdict.head) == (
        int(answer["X-Audit-Last"]),
        answer["X-Audit-Head"],
    )
    assert AuditRow.objects.filter(action="audit.export", actor="ada").exists()


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous")
def test_a_spreadsheet_gets_what_was_searched(admin: Client) -> None:
    text = text_of(admin.get("/audit/export/csv/?who=K1"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["actor"] for row in rows} == {"yan"}
    assert json.loads(rows[-1]["after"]) == {"name": "=1+1"}


def test_the_chain_is_walked_when_asked(admin: Client, person: MakeUser) -> None:
    eve = person("eve", "admin")
    _, plaintext = keys.issue(eve, "k", ["admin:audit"], by=session_of(eve))
    walked = Client(headers={"x-api-key": plaintext}).post("/api/v1/audit/verify")
    found = walked.json()
    assert (found["whole"], found["fault"]) == (True, "")
    assert found["last"] == AuditRow.objects.order_by("-seq")[0].seq
    assert admin.post("/audit/verify/", follow=True).status_code == 200


def test_the_page_shows_rows_and_runs_nothing_of_them(admin: Client) -> None:
    page = admin.get("/audit/", {"who": "zoe"}).content.decode()
    assert EVIL not in page
    assert "&lt;script&gt;alert(" in page
    assert "changed where an alias leads" in page
    assert "<del>a</del>" in page
    assert "Chain verified to row" in page


@pytest.mark.parametrize(
    "query", [{"since": "x"}, {"page": "x"}, {"action": "' --"}, {"text": "\0"}, {"who": "x" * 999}]
)
def test_the_page_bears_any_condition(admin: Client, query: dict[str, str]) -> None:
    assert admin.get("/audit/", query).status_code == 200


def test_a_page_shows_the_last_walk_of_a_long_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "AT_ONCE_ROWS", 0)
    assert verdicts.latest() is None
    walked = verdicts.look()
    audit.record("model.add", "model", "later")
    assert verdicts.latest() == walked
    monkeypatch.undo()
    shown = verdicts.latest()
    assert shown is not None
    assert shown.rows == walked.rows + 1
