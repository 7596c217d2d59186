"""The audit log: one chain, which nobody can change without its showing."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from accounts import actors, anchors, audit, chain
from accounts.actors import Actor
from accounts.models import AuditRow

ANN = Actor("user", "ann", 7, address="192.0.2.7", request_id="req_1")
pytestmark = pytest.mark.django_db


def some(count: int) -> list[AuditRow]:
    with actors.acting(ANN):
        return [
            audit.record("model.change", "model", f"m{n}", after={"n": n}) for n in range(count)
        ]


def test_it_says_who_did_what_to_which_object_and_from_where() -> None:
    with actors.acting(ANN):
        row = audit.record(
            "alias.change", "alias", "gpt-4", pk=3, before={"to": "a"}, after={"to": "b"}
        )
    row.refresh_from_db()
    assert (row.actor_kind, row.actor, row.actor_id) == ("user", "ann", 7)
    assert (row.address, row.request_id) == ("192.0.2.7", "req_1")
    assert (row.action, row.object_kind, row.object_name) == ("alias.change", "alias", "gpt-4")
    assert (json.loads(row.before), json.loads(row.after)) == ({"to": "a"}, {"to": "b"})
    assert row.object_id == "3"


def test_nobody_bound_is_the_system() -> None:
    assert audit.record("hub.start", "hub", "hub").actor_kind == "system"


def test_it_keeps_of_a_change_what_differs() -> None:
    row = audit.record("x.y", "x", "x", before={"a": 1, "b": 2}, after={"a": 1, "b": 3, "c": 4})
    assert (json.loads(row.before), json.loads(row.after)) == ({"b": 2}, {"b": 3, "c": 4})


@pytest.mark.parametrize(
    ("values", "hidden"),
    [
        ({"password": "plum-tart-9"}, "plum-tart-9"),
        ({"api_key": "sk-plum"}, "sk-plum"),
        ({"deep": {"client_secret": "plum"}}, "plum"),
        ({"listed": [{"token": "plum"}]}, "plum"),
        ({"system_prompt": "You are a plum."}, "plum"),
        ({"note": "hub_0123456789AB" + "plum" * 13}, "plum"),
    ],
)
def test_it_hides_secrets_and_what_people_wrote(values: dict[str, Any], hidden: str) -> None:
    row = audit.record("x.y", "x", "x", before={}, after=values)
    assert hidden not in row.after
    assert row.after != "{}"


def test_numbers_that_only_sound_like_secrets_are_shown() -> None:
    row = audit.record("limit.change", "user", "ann", after={"tokens_per_hour": 60})
    assert json.loads(row.after) == {"tokens_per_hour": 60}


def test_text_that_no_database_takes_is_made_plain() -> None:
    row = audit.record("x.y", "x", "a\0b\ud800", after={"v": "\0\ud800"})
    row.refresh_from_db()
    assert audit.verify().fault is None


def test_a_long_value_does_not_fill_the_disk() -> None:
    row = audit.record("x.y", "x", "x" * 9999, after={f"f{n}": "y" * 400 for n in range(1000)})
    assert len(row.after) <= audit.MAX_JSON_CHARS
    assert len(row.object_name) == 200


def test_a_whole_chain_is_found_whole() -> None:
    rows = some(3)
    verdict = audit.verify()
    assert verdict.fault is None
    assert (verdict.last, verdict.head) == (rows[-1].seq, rows[-1].hash)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditrow SET actor = 'eve' WHERE seq = {seq}",
        "DELETE FROM accounts_auditrow WHERE seq = {seq}",
        "DELETE FROM accounts_auditrow",
        "INSERT INTO accounts_auditrow SELECT * FROM accounts_auditrow WHERE seq = {seq}",
    ],
)
def test_the_database_refuses_to_change_it(statement: str) -> None:
    seq = some(2)[-1].seq
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(seq=seq))
    assert AuditRow.objects.filter(seq=seq, actor="ann").exists()


def test_replacing_a_row_is_refused_too() -> None:
    seq = some(2)[0].seq
    sql = {
        "sqlite": "INSERT OR REPLACE INTO accounts_auditrow SELECT * FROM accounts_auditrow"
        f" WHERE seq = {seq}",
        "postgresql": "TRUNCATE accounts_auditrow",
    }[connection.vendor]
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)


def test_no_row_without_its_verb() -> None:
    before = AuditRow.objects.count()

    def fails() -> None:
        with transaction.atomic():
            some(1)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fails()
    assert AuditRow.objects.count() == before


# --- what breaks a chain, row by row --------------------------------------------------------------

Rows = list[dict[str, Any]]


def changed(rows: Rows) -> None:
    rows[1]["actor"] = "eve"


def removed(rows: Rows) -> None:
    del rows[1]


def swapped(rows: Rows) -> None:
    rows[1], rows[2] = {**rows[2], "seq": rows[1]["seq"]}, {**rows[1], "seq": rows[2]["seq"]}


def relinked(rows: Rows) -> None:
    rows[1]["actor"] = "eve"
    rows[1]["hash"] = chain.digest(rows[1])


def rewritten(rows: Rows) -> None:
    rows[1]["actor"] = "eve"
    for before, row in pairwise(rows):
        row["previous"] = before["hash"]
        row["hash"] = chain.digest(row)


def cut(rows: Rows) -> None:
    del rows[3:]


def beheaded(rows: Rows) -> None:
    del rows[:2]


@pytest.mark.parametrize(
    ("tamper", "row", "word"),
    [
        (changed, 2, "changed"),
        (removed, 2, "removed"),
        (swapped, 2, "moved"),
        (relinked, 3, "changed"),
        (rewritten, 5, "replaced"),
        (cut, 4, "removed"),
        (beheaded, 1, "removed"),
    ],
)
def test_it_names_the_broken_row(tamper: Callable[[Rows], None], row: int, word: str) -> None:
    rows = numbered(5)
    anchor = chain.Anchor(5, rows[-1]["hash"])
    assert chain.verify(rows, [anchor]).fault is None
    tamper(rows)
    fault = chain.verify(rows, [anchor]).fault
    assert fault is not None
    assert (fault.seq, word in fault.reason) == (row, True), fault


def numbered(count: int) -> Rows:
    """Make a chain of its own, whatever rows other tests left in the table."""
    head, rows = chain.START, []
    for seq, row in enumerate(some(count), start=1):
        made = {**audit.as_row(row), "seq": seq, "previous": head}
        made["hash"] = head = chain.digest(made)
        rows.append(made)
    return rows


@pytest.mark.django_db(transaction=True)
def test_the_anchor_follows_each_commit_and_never_goes_back(
    settings: Settings, tmp_path: Path
) -> None:
    settings.HUB_DATA = tmp_path
    rows = some(2)
    assert anchors.read() == chain.Anchor(rows[-1].seq, rows[-1].hash)
    anchors.move(chain.Anchor(rows[0].seq, rows[0].hash), lambda _: True)
    assert anchors.read() == chain.Anchor(rows[-1].seq, rows[-1].hash)
    assert anchors.place().stat().st_mode & 0o077 == 0


@pytest.mark.django_db(transaction=True)
def test_a_chain_that_was_written_anew_does_not_cover_its_tracks(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who can write the database can compute all hashes again; the next row must not hide it."""
    settings.HUB_DATA = tmp_path
    last = some(3)[-1]
    anchors.reset(chain.Anchor(last.seq, "f" * 64))  # as if the rows behind it were others now
    some(1)
    assert anchors.read() == chain.Anchor(last.seq, "f" * 64)
    assert "differs from its anchor" in caplog.text
    fault = audit.verify().fault
    assert fault is not None
    assert fault.seq == last.seq
