"""Giving up or completing an upload while parts are on their way leaves no folder and no late bytes."""

import hashlib
import threading
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from inference import entries, places, uploads
from inference.errors import Conflict
from inference.models import Model, Upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
DATA = b"{}"
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def upload(settings: Settings, tmp_path: Path) -> Upload:
    settings.HUB_MODELS = tmp_path
    return uploads.begin("up", [{"path": "config.json", "size_bytes": 2}], owner_id=1)


def put(upload: Upload) -> None:
    uploads.put(upload, 0, 0, DATA, SUM)


def left(tmp_path: Path) -> list[Path]:
    return [*(tmp_path / places.ADDED).glob("*")]


def test_giving_up_waits_for_a_part_that_is_being_written(
    upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on, kept = threading.Event(), threading.Event(), uploads._write

    def slow(path: Path, offset: int, data: bytes) -> None:
        writing.set()
        go_on.wait(20)
        kept(path, offset, data)

    monkeypatch.setattr(uploads, "_write", slow)
    ended: list[type[BaseException]] = []
    sender = threading.Thread(target=_sent, args=(uploads.find(upload.pk, 1), ended))
    sender.start()
    assert writing.wait(20)
    threading.Timer(0.3, go_on.set).start()
    uploads.abandon(upload)
    sender.join(20)
    assert ended == [Conflict]
    assert left(tmp_path) == []
    assert not Model.objects.exists()


def _sent(upload: Upload, ended: list[type[BaseException]]) -> None:
    try:
        put(upload)
    except Conflict as error:
        ended.append(type(error))
    finally:
        connection.close()


def test_a_part_that_comes_after_the_end_is_not_written(upload: Upload, tmp_path: Path) -> None:
    late = uploads.find(upload.pk, 1)
    uploads.abandon(upload)
    with pytest.raises(Conflict):
        put(late)
    assert left(tmp_path) == []


def test_a_part_that_comes_after_complete_changes_nothing(upload: Upload, tmp_path: Path) -> None:
    put(upload)
    late = uploads.find(upload.pk, 1)
    row = uploads.complete(upload)
    with pytest.raises(Conflict):
        uploads.put(late, 0, 0, b"[]", hashlib.sha256(b"[]").hexdigest())
    assert (places.own_folder("up", row.pk) / "config.json").read_bytes() == DATA


def test_a_part_of_an_earlier_upload_is_not_kept(upload: Upload) -> None:
    put(upload)
    late = uploads.find(upload.pk, 1)
    entries.cancel(upload.model)
    again = uploads.begin("up", upload.files, owner_id=1)
    with pytest.raises(Conflict):
        put(late)
    assert uploads.missing(again) == [[0]]
    put(again)
    assert uploads.complete(again).state == "queued"


def test_what_was_half_removed_is_swept(upload: Upload, tmp_path: Path) -> None:
    put(upload)
    gone = tmp_path / places.ADDED / f"{places.GONE}0"
    gone.mkdir()
    (gone / "part").write_bytes(DATA)
    uploads.sweep()
    assert left(tmp_path) == [places.own_folder("up", upload.model_id)]
