"""When a key was last used: written late, in batches, and never lost to a short outage."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts import keys, last_use
from accounts.authentication import authenticate_now
from accounts.models import ApiKey
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db


def test_it_writes_many_uses_at_once(person: MakeUser) -> None:
    owner = person()
    made = [keys.issue(owner, f"k{n}", by=session_of(owner)) for n in range(3)]
    for _, plaintext in made[:2] * 5:
        authenticate_now({"x-api-key": plaintext}, None)
    assert not ApiKey.objects.filter(last_used_at__isnull=False).exists()
    assert last_use.flush() == 2
    used = ApiKey.objects.filter(last_used_at__isnull=False).values_list("name", flat=True)
    assert sorted(used) == ["k0", "k1"]
    with CaptureQueriesContext(connection) as queries:
        assert last_use.flush() == 0
    assert not any("UPDATE" in query["sql"] for query in queries)


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", None),
    ],
)
def test_it_keeps_from_where(person: MakeUser, shown: str, kept: str | None) -> None:
    owner = person()
    key, plaintext = keys.issue(owner, "k", by=session_of(owner))
    authenticate_now({"x-api-key": plaintext}, shown)
    last_use.flush()
    key.refresh_from_db()
    assert key.last_used_from == kept


def test_it_keeps_what_could_not_be_written(person: MakeUser) -> None:
    owner = person()
    _, plaintext = keys.issue(owner, "k", by=session_of(owner))
    authenticate_now({"x-api-key": plaintext}, None)
    with transaction.atomic():
        transaction.set_rollback(True)  # every query fails, as when the database is away
        with pytest.raises(DatabaseError):
            last_use.flush()
    assert last_use.flush() == 1


def test_it_does_not_end_other_rights(person: MakeUser) -> None:
    """Noting a use must not make every process read its rights again."""
    from accounts import epoch  # noqa: PLC0415

    owner = person()
    _, plaintext = keys.issue(owner, "k", by=session_of(owner))
    authenticate_now({"x-api-key": plaintext}, None)
    before = epoch.stamp()
    last_use.flush()
    assert epoch.holds(before)
