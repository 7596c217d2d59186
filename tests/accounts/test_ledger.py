"""The ledger of use: every request once, whatever happens to the process or the database."""

import datetime as dt
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts import keys, ledger, prices, spool, usage_rows
from accounts.entry import Entry
from accounts.ledger import Ledger
from accounts.models import Usage, UsageTotal
from accounts.spool import Spool
from tests.accounts.conftest import MakeUser, session_of

NOON = dt.datetime(2026, 11, 26, 12, 0, tzinfo=dt.UTC)


def entry(**fields: Any) -> Entry:
    usual: dict[str, Any] = {
        "uid": ledger.new_uid(),
        "request_id": "req_1",
        "at_s": NOON.timestamp(),
        "endpoint": "chat/completions",
        "status": 200,
        "user_id": 1,
        "username": "dev",
        "model": "chat",
        "prompt_tokens": 10,
        "completion_tokens": 5,
    }
    return Entry(**(usual | fields))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose thread does not run: tests say when it brings."""
    made = Ledger(Spool(tmp_path))
    made._thread = made  # type: ignore[assignment]
    yield made
    for path in made.spool.waiting:
        made.spool.forget(path)


@contextmanager
def locked() -> Iterator[None]:
    """Let somebody else hold the rows of use, and this connection wait for them a moment only."""
    other = connection.copy()
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=1" if is_sqlite else "SET lock_timeout = '20ms'")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
            if not is_sqlite:
                cursor.execute(f"LOCK TABLE {Usage._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        other.close()


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{spool.SUFFIX}"))


@pytest.mark.django_db
class TestRows:
    def test_each_request_is_one_row_and_leaves_no_file(self, mine: Ledger, tmp_path: Path) -> None:
        for _ in range(1200):  # more than one batch
            mine.note(entry())
        assert mine.flush() == 1200
        assert Usage.objects.count() == 1200
        assert files(tmp_path) == []

    def test_a_repeated_batch_counts_once(self) -> None:
        batch = [entry(), entry(at_s=NOON.timestamp() + 3600)]
        assert [usage_rows.put(batch), usage_rows.put([*batch, entry()])] == [2, 1]
        days = UsageTotal.objects.filter(span="day")
        assert [(day.requests, day.prompt_tokens) for day in days] == [(3, 30)]
        hours = UsageTotal.objects.filter(span="hour").order_by("at")
        assert [hour.requests for hour in hours] == [2, 1]

    def test_a_line_that_never_fits_holds_up_no_other(self) -> None:
        bad = entry(endpoint=None)
        assert usage_rows.put([entry(), bad, entry()]) == 2
        assert UsageTotal.objects.get(span="day").requests == 2

    def test_a_file_that_is_gone_holds_up_no_other(self, mine: Ledger, tmp_path: Path) -> None:
        mine.note(entry())
        mine.spool.seal()
        files(tmp_path)[0].unlink()
        mine.note(entry())
        assert mine.flush() == 1
        assert mine.spool.waiting == []

    def test_sums_keep_apart_who_asked_for_what(self) -> None:
        usage_rows.put(
            [
                entry(),
                entry(user_id=2, username="ann", first_token_ms=40, duration_ms=100),
                entry(user_id=2, username="anna", status=429, error_code="rate_limit_exceeded"),
            ]
        )
        ann = UsageTotal.objects.get(span="day", user_id=2)
        assert (ann.requests, ann.errors, ann.firsts, ann.first_token_ms) == (2, 1, 1, 40)
        assert ann.username == "anna"  # the name it had last

    def test_labels_outlive_key_and_user(self, person: MakeUser) -> None:
        user = person("gone")
        key, _ = keys.issue(user, "old robot", by=session_of(user))
        usage_rows.put([entry(user_id=user.pk, username="gone", key_id=key.public_id)])
        key.delete()
        user.delete()
        for row in (Usage.objects.get(), UsageTotal.objects.get(span="day")):
            assert (row.username, row.key_name, row.key_id) == ("gone", "old robot", key.public_id)

    def test_an_application_is_named_by_its_whole_id(self) -> None:
        name = f"app_{secrets.token_hex(20)}"
        usage_rows.put([entry(key_id=name)])
        for row in (Usage.objects.get(), UsageTotal.objects.get(span="day")):
            assert row.key_id == name
            row.clean_fields(exclude=["first_token_ms"])  # SQLite keeps what is too long

    def test_a_price_makes_a_cost_and_cached_tokens_have_their_own(self) -> None:
        wanted = {"prompt": Decimal(2), "cached": Decimal("0.5"), "completion": Decimal(8)}
        prices.put("chat", wanted)
        usage_rows.put([entry(prompt_tokens=1000, cached_tokens=400, completion_tokens=100)])
        assert Usage.objects.get().cost_nano == (600 * 2 + 400 * 0.5 + 100 * 8) * 1000
        prices.drop("chat")
        usage_rows.put([entry()])
        assert UsageTotal.objects.get(span="day").cost_nano == 2_200_000

    def test_old_rows_go_and_days_stay(self) -> None:
        usage_rows.put([entry(), entry(at_s=(NOON - dt.timedelta(days=100)).timestamp())])
        usage_rows.sweep(NOON, days=90)
        assert Usage.objects.count() == 1
        assert UsageTotal.objects.filter(span="hour").count() == 1
        assert UsageTotal.objects.filter(span="day").count() == 2


@pytest.mark.django_db(transaction=True)
class TestWithoutDatabase:
    def test_lines_wait_on_disk_while_it_is_locked(self, mine: Ledger, tmp_path: Path) -> None:
        with locked():
            for _ in range(3):
                mine.note(entry())
                with pytest.raises(DatabaseError):
                    mine.flush()
            assert len(files(tmp_path)) == 2  # one that was tried, one that grows
        mine.note(entry())
        assert mine.flush() == 4
        assert Usage.objects.count() == 4
        assert files(tmp_path) == []
        connection.close()

    def test_what_went_in_before_the_break_is_not_counted_twice(self, mine: Ledger) -> None:
        first = entry()
        mine.note(first)
        mine.note(entry())
        usage_rows.put([first])  # as if the answer to this commit had been lost
        assert mine.flush() == 1
        assert UsageTotal.objects.get(span="day").requests == 2

    def test_a_full_disk_keeps_lines_in_memory(self, mine: Ledger, tmp_path: Path) -> None:
        mine.spool._folder = tmp_path / "file" / "below"
        (tmp_path / "file").write_text("no folder")
        mine.note(entry())
        assert mine.flush() == 1


KILLED = """
import sys, os, signal
from pathlib import Path
from accounts.spool import Spool
from tests.accounts.test_ledger import entry
spool = Spool(Path(sys.argv[1]))
for number in range(100):
    spool.append(entry(uid=f"{number:032}"))
os.write(spool._open[1], b'{"uid": "torn')
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.django_db
def test_the_next_process_brings_what_a_killed_one_noted(mine: Ledger, tmp_path: Path) -> None:
    script = f"import django; django.setup()\n{KILLED}"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        mine.spool.adopt()
        assert mine.flush() == 0  # it lives: its lines are its own
        process.send_signal(signal.SIGKILL)
        process.wait()
    mine.spool.adopt()
    assert mine.flush() == 100
    mine.spool.adopt()
    assert mine.flush() == 0
    assert files(tmp_path) == []


@pytest.mark.django_db(transaction=True)
def test_the_thread_brings_by_itself(tmp_path: Path) -> None:
    running = Ledger(Spool(tmp_path))
    running.note(entry(at_s=timezone.now().timestamp()))
    running.close()
    assert Usage.objects.count() == 1
