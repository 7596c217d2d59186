"""Signed-in browsers: seen, told apart, ended by their person or by who manages people."""

from importlib import import_module

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.test import Client

from accounts import session_store, visits
from accounts.models import User, Visit
from hub.dashboard import devices
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.signing import is_in, password_step

pytestmark = pytest.mark.django_db
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann", password=PASSWORD)


def browser(agent: str = FIREFOX, address: str = "10.0.0.7", name: str = "ann") -> Client:
    client = Client(headers={"user-agent": agent}, REMOTE_ADDR=address)
    password_step(client, name)
    return client


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox, Windows"),
        (CHROME, "Chrome, Linux"),
        (f"{CHROME} Edg/140.0", "Edge, Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) AppleWebKit Version/19.0 Mobile Safari/604",
            "Safari, iPhone",
        ),
        ("curl/8.5.0", "curl"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("", "?"),
    ],
)
def test_it_says_what_a_browser_is(agent: str, words: str) -> None:
    assert devices.words(agent) == words


def test_it_notes_device_and_address(ann: User) -> None:
    browser(agent="x" * 1000)
    visit = Visit.objects.get()
    assert (visit.user, visit.address, visit.how) == (ann, "10.0.0.7", "password")
    assert len(visit.device) == visits.DEVICE_CHARS


def test_it_notes_from_where_it_was_seen_last(ann: User) -> None:
    client = browser()
    visits._noted.clear()
    client.get("/keys/", REMOTE_ADDR="10.0.0.8")
    assert Visit.objects.get().address == "10.0.0.8"
    client.get("/keys/", REMOTE_ADDR="10.0.0.9")  # within the same minute
    assert Visit.objects.get().address == "10.0.0.8"


def test_the_account_page_lists_ones_own(ann: User, person: MakeUser) -> None:
    person("bob", password=PASSWORD)
    browser(name="bob", agent="the browser of bob")
    here, other = browser(), browser(CHROME)
    page = here.get("/account/").content.decode()
    assert "Firefox, Windows" in page
    assert "Chrome, Linux" in page
    assert "the browser of bob" not in page
    assert is_in(other)


def test_a_hostile_browser_is_escaped(ann: User) -> None:
    page = browser(agent="<img src=x onerror=alert(1)>").get("/account/").content.decode()
    assert "<img src=x" not in page


def test_one_ends_another_of_ones_own(ann: User) -> None:
    here, other = browser(), browser(CHROME)
    visit = Visit.objects.get(device=CHROME)
    here.post(f"/account/browsers/{visit.pk}/end/")
    assert not is_in(other)
    assert is_in(here)


def test_one_does_not_end_the_one_at_hand(ann: User) -> None:
    here = browser()
    here.post(f"/account/browsers/{Visit.objects.get().pk}/end/")
    assert is_in(here)


def test_one_ends_all_others_at_once(ann: User) -> None:
    here, others = browser(), [browser(CHROME) for _ in range(3)]
    here.post("/account/browsers/end/")
    assert is_in(here)
    assert not any(is_in(one) for one in others)


def test_those_of_others_are_invisible(ann: User, person: MakeUser) -> None:
    person("bob", password=PASSWORD)
    here, bobs = browser(), browser(name="bob")
    visit = Visit.objects.get(user__username="bob")
    assert here.post(f"/account/browsers/{visit.pk}/end/").status_code == 404
    assert here.get("/access/browsers/").status_code == 403
    assert is_in(bobs)


def test_who_manages_people_sees_and_ends_all(ann: User, person: MakeUser) -> None:
    person("root", "admin", PASSWORD)
    hers, admin = browser(CHROME), browser(name="root")
    page = admin.get("/access/browsers/")
    assert page.context["total"] == 2
    visit = Visit.objects.get(user=ann)
    answer = admin.post(f"/account/browsers/{visit.pk}/end/", {"from": "visits"})
    assert answer["Location"] == "/access/browsers/"
    assert not is_in(hers)


def test_a_new_password_ends_the_others_and_keeps_this_one(ann: User) -> None:
    here, other = browser(), browser(CHROME)
    before = here.cookies["sessionid"].value
    new = "another pass phrase 8"
    fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    here.post("/account/", fields)
    assert here.cookies["sessionid"].value != before
    assert is_in(here)
    assert not is_in(other)


def test_ended_sessions_are_swept(ann: User) -> None:
    client = browser()
    assert visits.listing(session_of(ann)).count() == 1
    client.post("/logout/")
    assert visits.listing(session_of(ann)).count() == 0
    assert visits.sweep() == 1
    assert not Visit.objects.exists()


class TestACopyOfTheDatabase:
    """What is kept of a session signs nobody in."""

    def test_it_holds_no_key_of_a_session(self, ann: User) -> None:
        client = browser()
        key = client.cookies[settings.SESSION_COOKIE_NAME].value
        kept = [Session.objects.get().session_key, Visit.objects.get().session_key]
        assert kept == [session_store.digest(key)] * 2
        assert key not in kept

    def test_what_it_holds_is_no_key(self, ann: User) -> None:
        browser()
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = Session.objects.get().session_key
        assert not is_in(thief)

    def test_sessions_from_before_go_on(self, ann: User) -> None:
        before = db.SessionStore()
        before["word"] = "kept"
        before.create()
        key = str(before.session_key)
        Visit.objects.create(user=ann, session_key=key)
        migration = import_module("accounts.migrations.0016_digests_of_sessions")
        migration.forwards(apps, None)
        assert session_store.SessionStore(key)["word"] == "kept"
        assert Visit.objects.get().session_key == session_store.digest(key)


def test_a_browser_that_signed_out_is_on_no_list(ann: User) -> None:
    """Its row stays until the sweep; there is nothing to end."""
    left, here = browser(CHROME), browser()
    left.post("/logout/")
    assert not is_in(left)
    assert Visit.objects.count() == 2
    page = here.get("/account/").content.decode()
    assert "Firefox, Windows" in page
    assert "Chrome, Linux" not in page
    assert visits.listing(session_of(ann)).count() == 1
