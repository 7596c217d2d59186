"""A new pepper ends no key: old ones verify, and each key moves to the newest at its next use."""

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import applications, authentication, crypto, factors, keys, peppers
from accounts.models import ApiKey, User
from hub import keyring
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_ring(settings: Settings, tmp_path: Path) -> None:
    settings.HUB_SECRETS = tmp_path
    settings.HUB_KEY_PEPPERS = [key.encode() for key in keyring.ring(tmp_path, "key_pepper", None)]
    settings.HUB_KEY_PEPPER_FILE = tmp_path / "key_pepper"


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann", "admin")


def new_key(owner: User, name: str = "k") -> str:
    return keys.issue(owner, name, ["models:read"], by=session_of(owner))[1]


def rotate(*more: str) -> str:
    out = io.StringIO()
    call_command("rotate_keys", "--peppers", *more, stdout=out)
    return out.getvalue()


def version_of(text: str) -> str:
    return str(ApiKey.objects.get(public_id=crypto.public_id_of(text)).pepper)


def newest() -> str:
    return peppers.version(peppers.newest())


def enter(text: str) -> str:
    return authentication.authenticate_now({"x-api-key": text}, "127.0.0.1").username


def test_an_old_key_moves_to_the_newest_pepper_at_its_next_use(ann: User) -> None:
    text = new_key(ann)
    old = newest()
    assert version_of(text) == old
    assert "still under old peppers: 1" in rotate()
    assert (newest() != old, version_of(text)) == (True, old)
    assert enter(text) == "ann"
    assert version_of(text) == newest()
    assert enter(text) == "ann"


def test_a_key_in_a_warm_cache_goes_on(ann: User, settings: Settings) -> None:
    text = new_key(ann)
    assert enter(text) == "ann"
    rotate()
    assert enter(text) == "ann"


def test_new_keys_use_the_newest_also_in_a_process_from_before(
    ann: User, settings: Settings
) -> None:
    before = settings.HUB_KEY_PEPPERS
    rotate()
    settings.HUB_KEY_PEPPERS = before
    assert version_of(new_key(ann)) == newest()
    assert before != settings.HUB_KEY_PEPPERS


def test_a_key_from_before_versions_is_found_and_gets_one(ann: User) -> None:
    text = new_key(ann)
    ApiKey.objects.update(pepper="")
    rotate()
    assert keys.lookup(text) is not None
    assert version_of(text) == newest()


def test_a_renewed_key_costs_one_query_as_before(
    ann: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    text = new_key(ann)
    rotate()
    keys.lookup(text)
    with django_assert_num_queries(1):
        keys.lookup(text)


def test_a_wrong_secret_moves_nothing(ann: User) -> None:
    text = new_key(ann)
    old = newest()
    rotate()
    body = text[:16] + crypto.new_key().plaintext[16:-6]
    assert keys.lookup(body + crypto.checksum(body)) is None
    assert version_of(text) == old


def test_an_old_pepper_goes_only_when_no_working_key_needs_it(ann: User) -> None:
    used, unused = new_key(ann, "used"), new_key(ann, "unused")
    rotate()
    enter(used)
    with pytest.raises(CommandError, match=unused[4:16]) as refused:
        rotate("--forget-old")
    assert used[4:16] not in str(refused.value)
    keys.revoke(ApiKey.objects.get(name="unused"), by=session_of(ann))
    assert "old peppers gone: 1" in rotate("--forget-old")
    assert len(peppers.every()) == 1
    authentication.forget()
    assert enter(used) == "ann"


def test_a_pepper_in_a_variable_is_not_ours_to_change(settings: Settings) -> None:
    settings.HUB_KEY_PEPPER_FILE = None
    for more in ([], ["--forget-old"]):
        with pytest.raises(CommandError, match="AI_HUB_KEY_PEPPER"):
            rotate(*more)


def test_what_else_was_digested_goes_on_too(ann: User) -> None:
    code = factors.new_recovery_codes(ann)[0]
    wanted = applications.Wanted("app", ["https://app.test/back"], ["models:read"])
    app, secret = applications.register(wanted, session_of(ann))
    rotate()
    assert applications.is_secret(secret, app.client_secret)
    assert not applications.is_secret(secret + "x", app.client_secret)
    assert factors.verify(ann, code) == "recovery"
