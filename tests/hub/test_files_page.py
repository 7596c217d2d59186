"""The page of files: what is there for whom, and what removing one leaves."""

from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import limit_rows, principals
from accounts.models import User
from training import files, store
from training.models import File

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture(name="tess")
def _tess(settings: Settings, tmp_path: Path) -> User:
    settings.HUB_DATA = tmp_path
    return User.objects.create(username="tess", role="trainer")


def kept(user: User, name: str) -> File:
    with store.Incoming() as incoming:
        incoming.write(b'{"text": "the fox jumps"}\n')
        return files.take(incoming, principals.of_user(user), name, "fine-tune")


def page(browser: Client, address: str = "/files/") -> str:
    answer = browser.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_says_what_to_do_where_there_is_none(client: Client, tess: User) -> None:
    client.force_login(tess)
    shown = page(client)
    assert "No files yet." in shown
    assert "/datasets/new/" in shown


def test_it_lists_finds_and_removes(client: Client, tess: User) -> None:
    foxes, bears = kept(tess, "foxes.jsonl"), kept(tess, "bears.jsonl")
    client.force_login(tess)
    shown = page(client)
    assert "2 files, 52 B" in shown
    assert f"/v1/files/{foxes.pk}/content" in shown
    found = page(client, "/files/?q=fox")
    assert "foxes.jsonl" in found
    assert "bears.jsonl" not in found
    assert "No file is like that" in page(client, "/files/?q=wolf")
    assert client.post(f"/files/remove/{bears.pk}/")["Location"] == "/files/"
    assert [*File.objects.values_list("pk", flat=True)] == [foxes.pk]
    assert "bears.jsonl is removed" in page(client)


def test_a_limit_of_storage_is_told(client: Client, tess: User) -> None:
    ada = principals.of_user(User.objects.create(username="ada", role="admin"))
    limit_rows.put(limit_rows.about(ada, "user", "tess"), {"storage_bytes": 10**9})
    kept(tess, "foxes.jsonl")
    client.force_login(tess)
    assert "26 B of 1.00 GB are used." in page(client)


def test_who_may_not_remove_has_no_button(client: Client, tess: User) -> None:
    file = kept(tess, "foxes.jsonl")
    File.objects.update(visibility="hub")
    client.force_login(User.objects.create(username="vera", role="viewer"))
    assert client.get("/files/").status_code == 403
    assert client.post(f"/files/remove/{file.pk}/").status_code == 403
