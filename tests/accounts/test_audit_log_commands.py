"""The audit log leaves as a file, loses old rows under a checkpoint, and stays provable."""

import csv
import datetime as dt
import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts import actors, anchors, audit, chain, csv_text, exports, retention, sealing, tidy
from accounts.models import AuditRow

pytestmark = pytest.mark.django_db
OLD = timezone.now() - dt.timedelta(days=400)


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    settings.HUB_DATA = tmp_path


def some(count: int, monkeypatch: pytest.MonkeyPatch, at: dt.datetime | None = None) -> None:
    with monkeypatch.context() as patch:
        if at is not None:
            patch.setattr(timezone, "now", lambda: at)
        for number in range(count):
            audit.record("model.change", "model", f"=m{number}", after={"n": number})


def out(*command: str) -> str:
    stream = io.StringIO()
    call_command(*command, stdout=stream, stderr=io.StringIO())
    return stream.getvalue()


def forget_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests' rows are there to stay; an old checkpoint lets them go here."""
    everything = timezone.now() + dt.timedelta(days=1)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: OLD - dt.timedelta(days=1))
        retention.prune(everything, lambda rows: [*rows].clear())


def test_an_export_can_be_verified_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(3, monkeypatch)
    file = tmp_path / "log.ndjson"
    file.write_text(out("audit_export"))
    assert f"{AuditRow.objects.count()} rows" in out("audit_verify", "--file", str(file))
    lines = file.read_text().splitlines(keepends=True)
    row = json.loads(lines[-2])
    lines[-2] = json.dumps({**row, "actor": "eve"}) + "\n"
    file.write_text("".join(lines))
    with pytest.raises(CommandError, match=f"row {row['seq']}: changed"):
        call_command("audit_verify", "--file", str(file))


@pytest.mark.parametrize("text", ["x\n", "{}\n", "[1]\n"])
def test_a_file_that_is_no_export_is_refused_by_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(CommandError, match="line 1"):
        call_command("audit_verify", "--file", str(tmp_path / "x"))


def test_a_spreadsheet_computes_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    some(1, monkeypatch)
    rows = list(csv.DictReader(io.StringIO(out("audit_export", "--format", "csv"))))
    assert list(rows[0]) == list(exports.COLUMNS)
    assert "'=m0" in {row["object_name"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(csv_text.STARTS)]


def test_old_rows_leave_under_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_rows(monkeypatch)
    some(3, monkeypatch, OLD)
    some(2, monkeypatch)
    file = tmp_path / "old.ndjson"
    old = AuditRow.objects.count() - 2
    said = out("audit_prune", "--days", "365", "--file", str(file))
    assert f"{old} rows removed" in said
    verdict = audit.verify()
    assert verdict.fault is None
    with pytest.raises(CommandError, match="where the log ended"):
        out("audit_verify")  # no commit noted an anchor here
    anchors.reset(chain.Anchor(verdict.last, verdict.head))
    assert "whole" in out("audit_verify")
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert kept[-1]["object_name"] == "=m2"
    assert file.stat().st_mode & 0o077 == 0
    assert AuditRow.objects.order_by("seq").first().previous == kept[-1]["hash"]  # type: ignore[union-attr]


def test_old_rows_leave_by_themselves_once_a_day(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_rows(monkeypatch)
    some(3, monkeypatch, OLD)
    some(2, monkeypatch)
    tidy.sweep_audit()
    assert not (tmp_path / "audit").exists()  # all stay, unless the setting says otherwise
    settings.HUB_AUDIT_DAYS = 365
    tidy.sweep_audit()
    tidy.sweep_audit()
    (file,) = (tmp_path / "audit").iterdir()
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["object_name"] for row in kept[-3:]] == ["=m0", "=m1", "=m2"]
    assert audit.verify(anchored=False).fault is None
    found = AuditRow.objects.all().search(text="=m")
    assert [row["object_name"] for row in audit.rows(found)] == ["=m0", "=m1"]
    head = next(iter(audit.rows()))
    assert (head["seq"], head["previous"]) == (kept[-1]["seq"] + 1, kept[-1]["hash"])


def test_old_rows_of_a_broken_log_stay(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(2, monkeypatch, OLD)
    anchors.reset(chain.Anchor(10**6, "f" * 64))
    settings.HUB_AUDIT_DAYS = 365
    tidy.sweep_audit()
    assert not [*(tmp_path / "audit").iterdir()]


def test_a_forged_checkpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_rows(monkeypatch)
    some(4, monkeypatch)
    third = AuditRow.objects.order_by("-seq")[1]
    said = json.dumps({"hash": third.hash, "rows": 3, "proof": "0" * 8 + "." + "0" * 64})
    fields = {"action": chain.CHECKPOINT, "object_kind": "audit", "object_name": "x"}
    forged = audit.append({**fields, "after": said, "through": third.seq}, actors.system())
    AuditRow.objects.filter(seq__lte=third.seq).delete()
    fault = audit.verify().fault
    assert fault is not None
    assert (fault.seq, "did not make" in fault.reason) == (forged.seq, True)


def test_a_checkpoint_holds_after_a_rotation(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(2, monkeypatch, OLD)
    forget_rows(monkeypatch)
    settings.HUB_FIELD_KEYS = ["a new key" * 4, *settings.HUB_FIELD_KEYS]
    assert sealing.key_id(settings.HUB_FIELD_KEYS[0])
    assert audit.verify().fault is None


def test_nothing_leaves_a_broken_log(monkeypatch: pytest.MonkeyPatch) -> None:
    some(2, monkeypatch)
    last = AuditRow.objects.order_by("-seq")[0]
    anchors.reset(chain.Anchor(last.seq + 5, "f" * 64))
    with pytest.raises(retention.ChainBroken, match=f"row {last.seq + 1}"):
        forget_rows(monkeypatch)
    with pytest.raises(CommandError, match="removed"):
        call_command("audit_verify")


def test_an_older_database_is_accepted_when_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some(2, monkeypatch)
    anchors.reset(chain.Anchor(10**6, "f" * 64))
    assert "the anchor is set" in out("audit_verify", "--after-restore")
    told = AuditRow.objects.order_by("-seq")[0]
    assert (told.action, json.loads(told.before)["rows"]) == ("audit.restore", 10**6)
    assert "whole" in out("audit_verify")


def test_the_triggers_are_there() -> None:
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(names)
        found = {row[0] for row in cursor.fetchall()}
    assert {name for name in found if name.startswith("audit_")}
