"""First start: one link, one admin, whoever races."""

import io
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django.fixtures import Settings

from accounts import keys, people, setup
from accounts.models import SetupLink, User
from tests.accounts.conftest import PASSWORD, MakeUser

pytestmark = pytest.mark.django_db(transaction=True)
BASE = "http://127.0.0.1:8000"


def token() -> str:
    link = setup.issue_link(BASE + "/")
    assert link is not None
    assert link.startswith(f"{BASE}/setup/")
    return link.split("/")[-2]


def test_it_makes_the_admin_once() -> None:
    link = token()
    assert setup.needed()
    assert setup.valid(link)
    admin = setup.redeem(link, "root", PASSWORD)
    assert (admin.role, admin.is_superuser, admin.check_password(PASSWORD)) == ("admin", True, True)
    assert not setup.needed()
    assert not setup.valid(link)
    with pytest.raises(setup.LinkRefused):
        setup.redeem(link, "second", PASSWORD)


def test_it_gives_no_link_once_there_is_an_admin(person: MakeUser) -> None:
    link = token()
    person("root", "admin")
    assert not setup.valid(link)
    with pytest.raises(setup.LinkRefused, match="sign in"):
        setup.redeem(link, "second", PASSWORD)
    assert setup.issue_link(BASE) is None
    assert not SetupLink.objects.exists()


def test_the_file_of_a_link_is_the_hubs_own_and_goes_with_it(
    tmp_path: Path, settings: Settings
) -> None:
    settings.HUB_DATA = tmp_path
    link = setup.issue_link(BASE)
    assert link is not None
    file = setup.write_link(link)
    assert file.read_text() == f"{link}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    setup.redeem(link.split("/")[-2], "root", PASSWORD)
    assert not file.exists()


def test_a_newer_link_ends_the_older() -> None:
    old, new = token(), token()
    assert not setup.valid(old)
    assert setup.valid(new)


def test_it_stores_only_a_digest() -> None:
    link = token()
    assert link.encode() not in bytes(SetupLink.objects.get().digest)
    assert len(SetupLink.objects.get().digest) == 32


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [
        ("root", "short", "password"),
        ("root", "12345678901", "password"),
        ("root", "password123", "password"),
        ("aurelia-k", "aurelia-k1", "password"),
        ("", PASSWORD, "username"),
        ("a b", PASSWORD, "username"),
        ("x" * 151, PASSWORD, "username"),
    ],
)
def test_a_refused_form_does_not_use_the_link_up(username: str, password: str, field: str) -> None:
    link = token()
    with pytest.raises(people.PersonRefused) as refused:
        setup.redeem(link, username, password)
    assert refused.value.field == field
    assert setup.valid(link)


@pytest.mark.parametrize("given", ["", "x", "x" * 43, "\x00", "ä"])
def test_it_refuses_any_other_token(given: str) -> None:
    token()
    assert not setup.valid(given)
    with pytest.raises(setup.LinkRefused):
        setup.redeem(given, "root", PASSWORD)


def test_of_many_that_race_one_wins() -> None:
    link, racers = token(), 4
    start = threading.Barrier(racers)

    def race(number: int) -> bool:
        start.wait()
        try:
            setup.redeem(link, f"root{number}", PASSWORD)
        except setup.LinkRefused:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(racers) as pool:
        assert sorted(pool.map(race, range(racers))) == [False] * (racers - 1) + [True]
    assert User.objects.count() == 1


class TestCommands:
    def test_create_admin_reads_the_password_from_stdin(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
        call_command("create_admin", username="root", stdout=io.StringIO())
        assert User.objects.get().check_password(PASSWORD)
        with pytest.raises(
            CommandError, match=r"already a user named root: .* changepassword root"
        ):
            call_command("create_admin", username="root")

    @pytest.mark.parametrize(
        ("given", "words"), [("short\n", "too short"), ("\n", "No password"), ("", "No password")]
    )
    def test_create_admin_refuses_a_weak_password(
        self, monkeypatch: pytest.MonkeyPatch, given: str, words: str
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        with pytest.raises(CommandError, match=words):
            call_command("create_admin", username="root")
        assert not User.objects.exists()

    def test_changepassword_sets_one_that_the_rules_allow(
        self, person: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        person("dev", password="as it was before 7")
        monkeypatch.setattr("sys.stdin", io.StringIO(f"short\n{PASSWORD}\n"))
        with pytest.raises(CommandError, match="too short"):
            call_command("changepassword", "dev")
        assert User.objects.get().check_password("as it was before 7")
        call_command("changepassword", "dev", stdout=io.StringIO())
        assert User.objects.get().check_password(PASSWORD)
        with pytest.raises(CommandError, match="no user named nobody"):
            call_command("changepassword", "nobody")

    def test_create_key_prints_just_the_key(self, person: MakeUser) -> None:
        owner, out = person(), io.StringIO()
        call_command(
            "create_key", user="dev", name="ci", scope=["inference"], expires_days=7, stdout=out
        )
        [plaintext] = out.getvalue().splitlines()
        found = keys.lookup(plaintext)
        assert found is not None
        assert (found.owner, found.name, found.scopes) == (owner, "ci", ["inference"])
        assert found.expires_at is not None

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"user": "nobody"}, "no active user"),
            ({"scope": ["root"]}, "Unknown scope"),
            ({"scope": ["users:manage"]}, "does not hold"),
            ({"expires_days": 0}, "between 1 and"),
            ({"name": ""}, "needs a name"),
            ({"network": ["x"]}, "no network"),
        ],
    )
    def test_create_key_says_what_is_wrong(
        self, person: MakeUser, given: dict[str, object], message: str
    ) -> None:
        person()
        with pytest.raises(CommandError, match=message):
            call_command("create_key", **{"user": "dev", "name": "ci", **given})
