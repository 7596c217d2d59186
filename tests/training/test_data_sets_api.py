"""`/api/v1/datasets`: from text or a file to a report."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import keys, principals
from accounts.models import User
from tests.training.test_data_sets import chats, uploaded
from training import ingest
from training.models import DataSet, DataSetVersion, File

pytestmark = pytest.mark.django_db
URL = "/api/v1/datasets"
EVERYTHING = ("datasets:*", "files:*")


@pytest.fixture(name="ann")
def _ann(settings: Settings, tmp_path: Path) -> User:
    settings.HUB_DATA = tmp_path
    return User.objects.create(username="ann", role="trainer")


def client_of(user: User, *scopes: str) -> Client:
    key = keys.issue(user, "k", scopes or EVERYTHING, by=principals.of_user(user))[1]
    return Client(headers={"x-api-key": key})


@pytest.fixture(name="api")
def _api(ann: User) -> Client:
    return client_of(ann)


def post(api: Client, path: str = "", **body: Any) -> Any:
    return api.post(f"{URL}{path}", json.dumps(body), content_type="application/json")


def check_all() -> None:
    for version_id in ingest.waiting():
        ingest.validate(version_id)


def test_pasted_rows_become_a_version(api: Client) -> None:
    made = post(api, name="sky", text=chats(12).decode(), description="of the sky")
    assert made.status_code == 202
    assert made.json()["latest"]["state"] == "waiting"
    check_all()
    shown = api.get(f"{URL}/{made.json()['id']}").json()
    assert (shown["name"], shown["versions"], shown["description"]) == ("sky", 1, "of the sky")
    assert (shown["latest"]["state"], shown["latest"]["train_rows"]) == ("ready", 12)
    report = api.get(f"{URL}/{shown['id']}/versions/1").json()
    assert report["samples"][0]["messages"][1]["content"] == "Answer 0."
    assert (report["kinds"], report["lengths"]) == ([], None)


def test_a_report_tells_line_and_cure(api: Client) -> None:
    text = chats(12).decode() + '{"messages": [}\n' + chats(1).decode()
    key = post(api, name="sky", text=text).json()["id"]
    check_all()
    report = api.get(f"{URL}/{key}/versions/1").json()
    assert report["state"] == "refused"
    assert {kind["code"]: kind["count"] for kind in report["kinds"]} == {
        "bad_json": 1,
        "duplicate": 1,
    }
    found = api.get(f"{URL}/{key}/versions/1/findings?page_size=1").json()
    assert found["count"] == 2
    assert (found["results"][0]["line"], found["results"][0]["code"]) == (13, "bad_json")
    assert found["results"][0]["fix"] == "Each line must be one whole JSON object."
    only = api.get(f"{URL}/{key}/versions/1/findings?severity=warning").json()["results"]
    assert [one["line"] for one in only] == [14]
    assert api.get(f"{URL}/{key}/versions/1/findings?colour=red").status_code == 400


def test_versions_follow_each_other(api: Client, ann: User) -> None:
    key = post(api, name="sky", text=chats(12).decode()).json()["id"]
    file = uploaded(principals.of_user(ann), chats(20))
    second = post(api, f"/{key}/versions", file_id=file.pk, held_out=0.2)
    assert (second.status_code, second.json()["number"]) == (202, 2)
    again = post(api, f"/{key}/versions", file_id=file.pk, held_out=0.2)
    assert again.json()["number"] == 2
    check_all()
    listed = api.get(f"{URL}/{key}/versions").json()["results"]
    assert [(one["number"], one["state"]) for one in listed] == [(2, "ready"), (1, "ready")]
    withdrawn = post(api, f"/{key}/versions/1/withdraw")
    assert withdrawn.json()["state"] == "withdrawn"
    assert post(api, f"/{key}/versions/1/withdraw").status_code == 409


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "n"}, "file_id"),
        ({"name": "n", "text": "x", "file_id": "file-1"}, "text"),
        ({"text": "x"}, "name"),
        ({"name": "n", "text": "x", "held_out": 3}, "held_out"),
        ({"name": "n", "text": "x", "held_out": "0.1"}, "held_out"),
        ({"name": "n", "text": "x", "colour": "red"}, "colour"),
    ],
)
def test_wrong_bodies_are_told(api: Client, body: dict[str, Any], param: str) -> None:
    answer = post(api, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not DataSet.objects.exists()


def test_a_refused_body_keeps_no_pasted_file(api: Client) -> None:
    post(api, name="n", text="x", held_out=3)
    assert not File.objects.exists()


def test_text_needs_the_right_to_bring_files(ann: User) -> None:
    answer = post(client_of(ann, "datasets:*"), name="n", text="x")
    assert answer.status_code == 403
    assert not File.objects.exists()


def test_an_unknown_base_is_told(api: Client) -> None:
    answer = post(api, name="n", text=chats(12).decode(), base="no-such")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_a_removed_set_is_gone_and_its_file_stays(api: Client) -> None:
    key = post(api, name="sky", text=chats(12).decode()).json()["id"]
    assert api.delete(f"{URL}/{key}").status_code == 204
    assert api.get(f"{URL}/{key}").status_code == 404
    assert not DataSetVersion.objects.exists()
    assert File.objects.count() == 1


def test_lists_are_paged_and_searched(api: Client) -> None:
    for name in ("sky", "sea", "land"):
        assert post(api, name=name, text=chats(12).decode()).status_code == 202
    page = api.get(f"{URL}?page_size=2").json()
    assert (page["count"], len(page["results"])) == (3, 2)
    assert [one["name"] for one in api.get(f"{URL}?search=se").json()["results"]] == ["sea"]
