"""What uploads and downloads have still to bring counts before another one begins."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest_django import Settings

from inference import arrivals, entries, places, uploads
from inference.errors import DiskFull
from inference.models import Model, Upload
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import Behaviour

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
MB = 2**20
SIZE = 200 * MB


@pytest.fixture(autouse=True)
def _disk(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a disk with room for one of `SIZE`, beside what stays free."""
    settings.HUB_MODELS = tmp_path
    free = SimpleNamespace(free=places.SPARE_BYTES + SIZE + 24 * MB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)


def begin(name: str, size: int = SIZE) -> Upload:
    return uploads.begin(name, [{"path": "a.gguf", "size_bytes": size}], owner_id=1)


def test_two_uploads_do_not_count_on_the_same_room() -> None:
    first = begin("first")
    with pytest.raises(DiskFull, match="beside 200 MiB that are still coming"):
        begin("second")
    assert [row.name for row in Model.objects.all()] == ["first"]
    uploads.abandon(first)
    assert places.coming_bytes() == 0
    begin("second")


def test_what_came_is_not_counted_twice() -> None:
    upload = begin("first", 20 * MB)
    data = bytes(uploads.PART_BYTES)
    uploads.put(upload, 0, 0, data, hashlib.sha256(data).hexdigest())
    assert places.coming_bytes() == 12 * MB
    assert places.coming_bytes(but=upload.model_id) == 0


def test_one_that_was_stopped_asks_for_room_again() -> None:
    stopped = begin("first")
    entries.cancel(stopped.model)
    begin("second")
    with pytest.raises(DiskFull):
        uploads.reopen(uploads.find(stopped.pk, 1))
    assert Model.objects.get(name="first").state == "cancelled"


def test_a_download_leaves_an_upload_its_room(settings: Settings) -> None:
    files = tiny_files.files(vocab_size=2**16)
    with hub_server.serving(Behaviour({"org/tiny": files})) as hub:
        settings.HUB_HF_ENDPOINT = hub.url
        upload = begin("first", SIZE + 24 * MB)
        row = entries.add(entries.Wanted(source="huggingface", name="t", model_id="org/tiny"))
        arrivals.bring(row.pk)
        row.refresh_from_db()
        assert (row.state, "still coming" in row.state_reason) == ("failed", True)
        uploads.abandon(upload)
        again = entries.add(entries.Wanted(source="huggingface", name="t", model_id="org/tiny"))
        arrivals.bring(again.pk)
        again.refresh_from_db()
        assert (again.state, again.state_reason) == ("available", "")
