"""Files that have run out are not there at once, and gone with their bytes after the next sweep."""

import datetime as dt
import os
import time
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts import principals, quotas
from accounts.models import User
from inference.errors import NotFound
from training import files, store
from training.models import File

pytestmark = pytest.mark.django_db


@pytest.fixture(name="who")
def _who(settings: Settings, tmp_path: Path) -> principals.Principal:
    settings.HUB_DATA = tmp_path
    return principals.of_user(User.objects.create(username="ann", role="trainer"))


def taken(who: principals.Principal, lives_s: int | None = None) -> File:
    with store.Incoming() as incoming:
        incoming.write(b"data")
        return files.take(incoming, who, "a.jsonl", "batch", lives_s)


def test_what_has_run_out_goes(who: principals.Principal) -> None:
    kept, ended = taken(who), taken(who, 3_600)
    File.objects.filter(pk=ended.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
    with pytest.raises(NotFound):
        files.find(ended.pk, who)
    assert store.path(ended.pk).exists()
    assert files.sweep() == 1
    assert not store.path(ended.pk).exists()
    assert store.path(kept.pk).read_bytes() == b"data"
    assert {one.used for one in quotas.standing(who, "storage_bytes")} == {4}


def test_what_a_dead_process_left_goes(who: principals.Principal) -> None:
    taken(who)
    left = store.root() / "incoming" / "left"
    fresh = store.root() / "incoming" / "fresh"
    for file in (left, fresh):
        file.write_bytes(b"half")
    old = time.time() - store.FORGOTTEN_S - 1
    os.utime(left, (old, old))
    files.sweep()
    assert (left.exists(), fresh.exists()) == (False, True)
