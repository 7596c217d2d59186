"""What the database's own rows hold of secrets: nothing that can be read, before and after a rotation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from accounts import otp, sealing
from accounts.models import Provider, Totp
from hub import keyring
from inference import vault
from tests.accounts.conftest import MakeUser

pytestmark = pytest.mark.django_db
CLIENT, TOKEN, UPSTREAM = "client-plum-0001", "hf_plum_0002", "sk-plum-0003"
BYTES = (bytes, memoryview)  # of SQLite, of PostgreSQL
REMOTE = vault.of_model("far")


@pytest.fixture(autouse=True)
def _own_ring(settings: Settings, tmp_path: Path) -> None:
    settings.HUB_SECRETS = tmp_path
    settings.HUB_FIELD_KEYS = keyring.ring(tmp_path, "field_key", None)
    settings.HUB_FIELD_KEY_FILE = tmp_path / "field_key"


@pytest.fixture
def planted(person: MakeUser) -> list[str]:
    """Put one secret of each kind into the database, and give their plain texts."""
    totp = otp.new_secret()
    Totp.objects.create(user=person("ann"), secret=totp)
    names = {"slug": "idp", "name": "IdP", "issuer": "https://idp.test", "client_id": "hub"}
    Provider.objects.create(client_secret=CLIENT, **names)
    vault.put(vault.HUGGINGFACE_TOKEN, TOKEN)
    vault.put(REMOTE, UPSTREAM)
    return [totp, CLIENT, TOKEN, UPSTREAM]


def raw_values() -> Iterator[bytes]:
    """Give every value of every row of every table, as the database has it."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                yield from (bytes(v) if isinstance(v, BYTES) else str(v).encode() for v in row)


def dump() -> bytes:
    return b"\n".join(raw_values())


def kept() -> list[str]:
    """Read each secret back by the door that serves it."""
    provider, totp = Provider.objects.get(slug="idp"), Totp.objects.get()
    return [
        totp.secret,
        provider.client_secret,
        vault.get(vault.HUGGINGFACE_TOKEN),
        vault.get(REMOTE),
    ]


def sealed_with(key: str) -> int:
    return dump().count(f"s1.{sealing.key_id(key)}.".encode())


def test_no_row_holds_a_secret_in_the_clear(planted: list[str], settings: Settings) -> None:
    held = dump()
    assert b"https://idp.test" in held  # the dump does see what is in the clear
    assert [text for text in planted if text.encode() in held] == []
    assert sealed_with(settings.HUB_FIELD_KEYS[0]) == len(planted)


def test_a_rotation_reaches_every_kind(planted: list[str], settings: Settings) -> None:
    old = settings.HUB_FIELD_KEYS[0]
    call_command("rotate_keys", forget_old=True)
    assert [old] != settings.HUB_FIELD_KEYS
    assert (sealed_with(old), sealed_with(settings.HUB_FIELD_KEYS[0])) == (0, len(planted))
    assert kept() == planted
