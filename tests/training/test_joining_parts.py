"""The storage of an upload goes over to its file in one step, or stays the upload's."""

from pathlib import Path

import pytest
from pytest_django import Settings

from accounts import principals, quotas
from accounts.models import Limit, User
from inference.openai import uploads as protocol
from training import files, parts, store
from training.models import File, FileUpload

pytestmark = pytest.mark.django_db(transaction=True)
SIZE = 10


@pytest.fixture(name="who")
def _who(settings: Settings, tmp_path: Path) -> principals.Principal:
    settings.HUB_DATA = tmp_path
    return principals.of_user(User.objects.create(username="ann", role="trainer"))


@pytest.fixture(name="upload")
def _upload(who: principals.Principal) -> FileUpload:
    wanted = protocol.Create(
        filename="a.jsonl", purpose="batch", bytes=SIZE, mime_type="application/jsonl"
    )
    return parts.begin(wanted, who)


def joined(upload: FileUpload, who: principals.Principal) -> File:
    with store.Incoming() as incoming:
        incoming.write(b"x" * SIZE)
        part = parts.add(upload.pk, incoming, who)
    return parts.complete(upload.pk, protocol.Complete(part_ids=[part.pk]), who)[1]


def used(who: principals.Principal) -> set[int]:
    return {one.used for one in quotas.standing(who, files.STORAGE)}


def kept() -> list[Path]:
    return [*store.root().glob("*/file*")]


def test_what_was_set_aside_suffices_for_the_file(
    who: principals.Principal, upload: FileUpload
) -> None:
    Limit.objects.create(subject=f"user:{who.user_id}", storage_bytes=SIZE - 1)
    joined(upload, who)
    assert used(who) == {SIZE}


def test_a_disk_that_fails_leaves_the_upload_its_storage(
    who: principals.Principal, upload: FileUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_incoming: store.Incoming, file_id: str) -> Path:
        raise OSError(28, "No space left on device", file_id)

    with store.Incoming() as incoming:
        incoming.write(b"x" * SIZE)
        part = parts.add(upload.pk, incoming, who)
    monkeypatch.setattr(store.Incoming, "keep", full)
    with pytest.raises(OSError, match="No space"):
        parts.complete(upload.pk, protocol.Complete(part_ids=[part.pk]), who)
    assert used(who) == {SIZE}
    assert quotas.is_held(files.STORAGE, upload.pk)
    assert not File.objects.exists()
    assert not kept()


def test_the_file_counts_in_place_of_the_upload(
    who: principals.Principal, upload: FileUpload
) -> None:
    file = joined(upload, who)
    assert used(who) == {SIZE}
    assert quotas.is_held(files.STORAGE, file.pk)
    assert not quotas.is_held(files.STORAGE, upload.pk)
