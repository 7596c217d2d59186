"""Data sets: rows, and the check of their versions in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings

from accounts import principals, quotas
from accounts.models import AuditRow, Limit, Membership, Team, User
from inference.errors import Conflict, InvalidValue, NotFound, PermissionDenied, RateLimited
from training import files, ingest, sets, shelf, store
from training.models import DataSet, DataSetVersion, File

pytestmark = pytest.mark.django_db
Principal = principals.Principal


def chats(count: int, of: str = "the sky") -> bytes:
    out = io.StringIO()
    for n in range(count):
        talk = [
            {"role": "user", "content": f"What is number {n} of {of}?"},
            {"role": "assistant", "content": f"Answer {n}."},
        ]
        out.write(json.dumps({"messages": talk}) + "\n")
    return out.getvalue().encode()


def person(name: str, role: str = "trainer") -> Principal:
    return principals.of_user(User.objects.create(username=name, role=role))


@pytest.fixture(name="who")
def _who(settings: Settings, tmp_path: Path) -> Principal:
    settings.HUB_DATA = tmp_path
    return person("ann")


def uploaded(
    who: Principal, data: bytes, name: str = "a.jsonl", purpose: str = "fine-tune"
) -> File:
    with store.Incoming() as incoming:
        incoming.write(data)
        return files.take(incoming, who, name, purpose)


def checked(version: DataSetVersion) -> DataSetVersion:
    ingest.validate(version.pk)
    version.refresh_from_db()
    return version


def test_a_good_file_becomes_ready(who: Principal) -> None:
    version = checked(sets.ensure(uploaded(who, chats(12)).pk, who))
    assert (version.state, version.format, version.train_rows) == ("ready", "chat", 12)
    assert len(version.train_path().read_bytes().splitlines()) == 12
    assert version.validation_path() is None
    assert version.findings_text() == ""
    used = quotas.standing(who, "storage_bytes")[0].used
    assert used == len(chats(12)) + version.size_bytes
    assert [row.action for row in AuditRow.objects.order_by("seq")] == [
        "file.add",
        "dataset.add",
        "dataset.version",
        "dataset.check",
    ]


def test_the_same_content_is_checked_once(who: Principal) -> None:
    first = sets.ensure(uploaded(who, chats(12)).pk, who)
    again = sets.ensure(uploaded(who, chats(12)).pk, who)
    other = sets.ensure(uploaded(who, chats(13)).pk, who)
    assert first.pk == again.pk != other.pk
    assert DataSetVersion.objects.count() == 2


def test_a_bad_row_refuses_with_its_line(who: Principal) -> None:
    data = chats(12) + b'{"messages": [}\n'
    version = checked(sets.ensure(uploaded(who, data).pk, who))
    assert version.state == "refused"
    assert version.findings_text().startswith("Line 13: No JSON from byte")
    assert version.reason == version.findings_text()


def test_bad_rows_may_be_left_out(who: Principal) -> None:
    file = uploaded(who, chats(12) + b"{\n")
    version = checked(sets.create(who, "sky", sets.Wanted(file.pk, leaves_out=True)))
    assert (version.state, version.train_rows, version.errors) == ("ready", 12, 1)


def test_too_few_rows_are_refused(who: Principal) -> None:
    version = checked(sets.ensure(uploaded(who, chats(3)).pk, who))
    assert version.state == "refused"
    assert "Only 3 rows" in version.reason


def test_a_share_is_held_out(who: Principal) -> None:
    file = uploaded(who, chats(200))
    version = checked(sets.create(who, "sky", sets.Wanted(file.pk, held_out=0.2)))
    held = version.validation_path()
    assert held is not None
    assert version.train_rows + version.validation_rows == 200
    assert 20 <= len(held.read_bytes().splitlines()) == version.validation_rows <= 60


def table(count: int, of: str) -> bytes:
    return "".join(
        ["prompt,completion\n", *(f"What is {of} {n}?,It is {n * 7}.\n" for n in range(count))]
    ).encode()


def test_a_table_is_held_out_beside_a_table(who: Principal) -> None:
    learned = uploaded(who, table(12, "row"), "learned.csv")
    held = uploaded(who, table(4, "held row"), "held.csv")
    version = checked(sets.ensure(learned.pk, who, held.pk))
    assert (version.state, version.reason) == ("ready", "")
    assert (version.train_rows, version.validation_rows) == (12, 4)


def test_a_validation_file_may_not_hold_training_rows(who: Principal) -> None:
    train, held = uploaded(who, chats(12)), uploaded(who, chats(1) + chats(3, "the sea"))
    version = checked(sets.ensure(train.pk, who, held.pk))
    assert version.state == "refused"
    assert "in the training data too" in version.findings_text()


def test_a_file_that_went_is_told_and_may_come_anew(who: Principal) -> None:
    file = uploaded(who, chats(12))
    version = sets.ensure(file.pk, who)
    files.remove(file.pk, who)
    assert checked(version).state == "failed"
    assert version.reason == "The file is gone: upload it again."
    again = sets.ensure(uploaded(who, chats(12)).pk, who)
    assert again.pk == version.pk
    assert checked(again).state == "ready"


def test_storage_is_limited(who: Principal) -> None:
    file = uploaded(who, chats(12))
    Limit.objects.create(subject=f"user:{who.user_id}", storage_bytes=file.size_bytes + 1)
    with pytest.raises(RateLimited):
        sets.create(who, "sky", sets.Wanted(file.pk))
    assert not DataSet.objects.exists()


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"held_out": 0.9}, "held_out"),
        ({"held_out": float("nan")}, "held_out"),
        ({"max_length": 0}, "max_length"),
    ],
)
def test_wrong_wishes_are_told(who: Principal, wanted: dict[str, float], param: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        sets.create(who, "sky", sets.Wanted(uploaded(who, chats(1)).pk, **wanted))  # type: ignore[arg-type]
    assert caught.value.param == param


def test_files_of_other_purposes_are_refused(who: Principal) -> None:
    with pytest.raises(InvalidValue, match="purpose batch"):
        sets.ensure(uploaded(who, chats(1), purpose="batch").pk, who)


def test_names_are_a_teams_own(who: Principal) -> None:
    file = uploaded(who, chats(12))
    sets.create(who, "sky", sets.Wanted(file.pk))
    with pytest.raises(Conflict, match="add a version"):
        sets.create(who, "sky", sets.Wanted(file.pk))


def test_other_teams_see_and_change_nothing(who: Principal) -> None:
    version = sets.create(who, "sky", sets.Wanted(uploaded(who, chats(12)).pk))
    stranger = User.objects.create(username="eve", role="trainer")
    stranger.memberships.all().delete()
    Membership.objects.create(user=stranger, team=Team.objects.create(name="far"))
    eve = principals.of_user(stranger)
    with pytest.raises(NotFound):
        sets.find(version.data_set_id, eve)
    with pytest.raises(NotFound):
        sets.ensure(version.file_id, eve)
    viewer = person("vic", "viewer")
    with pytest.raises(PermissionDenied):
        sets.remove(viewer, sets.find(version.data_set_id, viewer))


def test_a_removed_set_leaves_nothing(who: Principal) -> None:
    version = checked(sets.create(who, "sky", sets.Wanted(uploaded(who, chats(12)).pk)))
    sets.remove(who, version.data_set)
    assert not shelf.folder(version.pk).exists()
    assert quotas.standing(who, "storage_bytes")[0].used == len(chats(12))


def test_what_is_used_stays(who: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    version = sets.create(who, "sky", sets.Wanted(uploaded(who, chats(12)).pk))
    monkeypatch.setattr(sets, "USERS", [lambda _: "The job x trains on it."])
    with pytest.raises(Conflict, match="job x"):
        sets.remove(who, version.data_set)
    assert DataSet.objects.exists()


def test_a_withdrawn_version_says_so(who: Principal) -> None:
    version = sets.create(who, "sky", sets.Wanted(uploaded(who, chats(12)).pk))
    with pytest.raises(Conflict):
        sets.withdraw(who, version)
    assert sets.withdraw(who, checked(version)).state == "withdrawn"


def test_folders_without_a_row_go(who: Principal) -> None:
    version = checked(sets.ensure(uploaded(who, chats(12)).pk, who))
    left = shelf.folder("dsv-" + "0" * 32)
    left.mkdir(parents=True)
    assert ingest.sweep() == 1
    assert not left.exists()
    assert version.train_path().exists()


SUPERVISOR = """
import django, sys
django.setup()
from training import ingest
ingest.validate(sys.argv[1])
"""


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_after_a_killed_supervisor(who: Principal) -> None:
    """The supervisor is killed in the middle: no process stays, and the next one ends the check."""
    version = sets.ensure(uploaded(who, chats(20_000)).pk, who)
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "AI_HUB_DATA": str(store.root().parent),
        "AI_HUB_DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
    }
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, version.pk], env=environment)
    writing = shelf.folder(version.pk) / "train.part"
    limit = time.monotonic() + 60
    while not writing.exists() and supervisor.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert writing.exists()
    children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
    assert len(children) == 1
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    assert not Path(f"/proc/{children[0]}").exists()
    version.refresh_from_db()
    assert version.state == "validating"
    assert ingest.waiting() == [version.pk]
    assert checked(version).state == "ready"
    assert (version.train_rows, version.attempts) == (20_000, 2)
