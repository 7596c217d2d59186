"""Secrets in the database: sealed for one place, opened by every key of the ring."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, models
from pytest_django import Settings

from accounts import sealing
from accounts.fields import EncryptedTextField
from hub import keyring
from inference import vault
from inference.models import Secret

PLACE, TEXT = "people.token", "plum tart é 7"


@pytest.fixture(autouse=True)
def ring(settings: Settings) -> list[str]:
    settings.HUB_FIELD_KEYS = [keyring.random_key(), keyring.random_key()]
    settings.HUB_FIELD_KEY_FILE = None
    return settings.HUB_FIELD_KEYS  # type: ignore[no-any-return]


def test_it_opens_what_it_sealed() -> None:
    sealed = sealing.seal(PLACE, TEXT)
    assert sealing.unseal(PLACE, sealed) == TEXT
    assert TEXT not in sealed
    assert sealing.seal(PLACE, TEXT) != sealed


def test_an_old_key_still_opens(settings: Settings, ring: list[str]) -> None:
    sealed = sealing.seal(PLACE, TEXT)
    settings.HUB_FIELD_KEYS = [keyring.random_key(), *ring]
    assert sealing.unseal(PLACE, sealed) == TEXT
    assert not sealing.is_current(sealed)
    assert sealing.is_current(sealing.seal(PLACE, TEXT))


def test_it_opens_what_was_sealed_before_there_were_rings(ring: list[str]) -> None:
    sealed = Fernet(ring[1]).encrypt(TEXT.encode()).decode()
    assert sealing.unseal(PLACE, sealed) == TEXT


@pytest.mark.parametrize("place", ["people.password", "people.token2", ""])
def test_it_opens_in_its_own_place_only(place: str) -> None:
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(place, sealing.seal(PLACE, TEXT))


def test_a_changed_value_is_no_value(settings: Settings) -> None:
    sealed = sealing.seal(PLACE, TEXT)
    for broken in (sealed[:-5] + "AAAA=", "s1.00000000." + sealed[12:], "plain", ""):
        with pytest.raises(sealing.Unreadable):
            sealing.unseal(PLACE, broken)
    settings.HUB_FIELD_KEYS = [keyring.random_key()]
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(PLACE, sealed)


def test_a_proof_holds_for_its_text_and_place() -> None:
    given = sealing.proof(PLACE, TEXT)
    assert sealing.proves(PLACE, TEXT, given)
    assert not sealing.proves(PLACE, TEXT + " ", given)
    assert not sealing.proves("elsewhere", TEXT, given)
    assert not sealing.proves(PLACE, TEXT, "00000000" + given[8:])


# --- a column -------------------------------------------------------------------------------------


def made() -> Any:
    """Make a table's model for one test."""
    meta = type("Meta", (), {"app_label": "accounts", "managed": False})
    fields = {"token": EncryptedTextField(blank=True), "Meta": meta, "__module__": __name__}
    return type("Sealed", (models.Model,), fields)


@pytest.fixture
def table(db: None) -> Iterator[Any]:
    model = made()
    with connection.schema_editor() as editor:
        editor.create_model(model)
    yield model.objects
    with connection.schema_editor() as editor:
        editor.delete_model(model)
    del apps.all_models["accounts"]["sealed"]
    apps.clear_cache()


def raw() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM accounts_sealed ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
class TestColumn:
    def test_the_database_sees_no_text(self, table: Any) -> None:
        row = table.create(token=TEXT)
        table.create(token="")
        assert table.get(pk=row.pk).token == TEXT
        assert TEXT not in raw()[0]
        assert raw()[1] == ""

    def test_it_cannot_be_searched(self, table: Any) -> None:
        with pytest.raises(TypeError, match="encrypted"):
            table.filter(token=TEXT).exists()

    def test_rotating_seals_anew(self, table: Any, settings: Settings, ring: list[str]) -> None:
        table.create(token=TEXT)
        vault.put(vault.HUGGINGFACE_TOKEN, TEXT)
        settings.HUB_FIELD_KEYS = [keyring.random_key(), *ring]
        call_command("rotate_keys")
        settings.HUB_FIELD_KEYS = settings.HUB_FIELD_KEYS[:1]
        assert table.get().token == TEXT
        assert vault.get(vault.HUGGINGFACE_TOKEN) == TEXT


@pytest.mark.django_db
class TestRotation:
    @pytest.fixture(autouse=True)
    def _file(self, settings: Settings, tmp_path: object) -> None:
        settings.HUB_SECRETS = tmp_path
        settings.HUB_FIELD_KEYS = keyring.ring(settings.HUB_SECRETS, "field_key", None)
        settings.HUB_FIELD_KEY_FILE = settings.HUB_SECRETS / "field_key"

    def test_a_process_from_before_opens_what_the_new_key_sealed(self, settings: Settings) -> None:
        vault.put(vault.HUGGINGFACE_TOKEN, TEXT)
        before = settings.HUB_FIELD_KEYS
        call_command("rotate_keys")
        sealed = bytes(Secret.objects.get().sealed).decode()
        assert sealing.is_current(sealed)
        settings.HUB_FIELD_KEYS = before
        assert vault.get(vault.HUGGINGFACE_TOKEN) == TEXT

    def test_the_old_key_can_be_forgotten(self, settings: Settings) -> None:
        vault.put(vault.HUGGINGFACE_TOKEN, TEXT)
        call_command("rotate_keys", forget_old=True)
        assert len(settings.HUB_FIELD_KEY_FILE.read_text().split()) == 1
        assert vault.get(vault.HUGGINGFACE_TOKEN) == TEXT
        assert keyring.open_to_others(settings.HUB_SECRETS) == []

    def test_a_key_in_a_variable_is_not_ours_to_drop(self, settings: Settings) -> None:
        settings.HUB_FIELD_KEY_FILE = None
        with pytest.raises(CommandError, match="AI_HUB_FIELD_KEY"):
            call_command("rotate_keys", forget_old=True)
