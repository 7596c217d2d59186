"""Passwords behind the throttle: guesses are counted by name and address, whatever form asks."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory

from accounts import throttle
from accounts.forms import SignInForm
from accounts.models import User
from tests.accounts.conftest import PASSWORD, MakeUser

pytestmark = pytest.mark.django_db
NEW = "another pass phrase 8"


@pytest.fixture(params=["redis", "no redis"], autouse=True)
def _counters(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every rule holds with Redis and without."""
    if request.param == "no redis":
        request.getfixturevalue("away")
    yield
    throttle._local.__init__()  # type: ignore[misc]


def sign_in(username: str, password: str, address: str = "10.0.0.1") -> Any:
    request = RequestFactory().post("/login/", REMOTE_ADDR=address)
    return authenticate(request, username=username, password=password)


def test_it_lets_the_right_password_in(person: MakeUser) -> None:
    user = person("ann", password=PASSWORD)
    assert sign_in("ann", PASSWORD) == user
    assert sign_in("ann", "wrong") is None
    assert sign_in("nobody", PASSWORD) is None


def test_it_stops_guessing_even_with_the_right_password(person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    for _ in range(throttle.PAIR.tries):
        assert sign_in("ann", "wrong") is None
    assert sign_in("ann", PASSWORD) is None
    assert sign_in("\uff21NN", PASSWORD) is None  # the same name in other letters


def test_it_does_not_lock_the_owner_out_from_elsewhere(person: MakeUser) -> None:
    user = person("ann", password=PASSWORD)
    for _ in range(throttle.PAIR.tries + 3):
        sign_in("ann", "wrong", "10.0.0.66")
    assert sign_in("ann", PASSWORD, "10.0.0.1") == user


def test_it_stops_one_address_that_tries_many_names(person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    for number in range(throttle.ADDRESS.tries):
        sign_in(f"user{number}", "wrong", "10.0.0.66")
    assert sign_in("ann", PASSWORD, "10.0.0.66") is None


@pytest.mark.parametrize(
    ("rule", "addresses"),
    [
        (throttle.ADDRESS, "2001:db8:1:2::{:x}"),  # of one subscriber
        (throttle.SITE, "2001:db8:1:{:x}::1"),  # of one customer with many networks
    ],
)
def test_it_stops_an_ipv6_network_that_changes_its_address(
    person: MakeUser, rule: throttle.Rule, addresses: str
) -> None:
    for number in range(rule.tries):
        throttle.attempt(f"user{number}", addresses.format(number))
    with pytest.raises(throttle.TooMany):
        throttle.attempt("ann", addresses.format(0xFFFF))
    throttle.attempt("ann", "2001:db8:2::1")  # another one goes on


def test_a_mapped_address_is_the_one_it_maps(person: MakeUser) -> None:
    for _ in range(throttle.PAIR.tries):
        throttle.attempt("ann", "192.0.2.1")
    assert throttle.wait_s("ann", "::ffff:192.0.2.1") > 0


def test_who_signs_in_uses_nothing_of_the_address_up(person: MakeUser) -> None:
    user = person("ann", password=PASSWORD)
    for number in range(throttle.ADDRESS.tries - 1):
        sign_in(f"user{number}", "wrong", "10.0.0.66")
    for _ in range(3):
        assert sign_in("ann", PASSWORD, "10.0.0.66") == user
    sign_in("somebody", "wrong", "10.0.0.66")
    assert sign_in("ann", PASSWORD, "10.0.0.66") is None


def test_it_stops_many_addresses_that_try_one_name(person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    for number in range(throttle.NAME.tries):
        sign_in("ann", "wrong", f"10.0.1.{number}")
    assert sign_in("ann", PASSWORD, "10.0.2.1") is None


def test_it_forgives_after_a_success(person: MakeUser) -> None:
    user = person("ann", password=PASSWORD)
    for _ in range(3):
        for _ in range(throttle.PAIR.tries - 1):
            sign_in("ann", "wrong")
        assert sign_in("ann", PASSWORD) == user


def test_it_says_how_long_to_wait(person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    assert throttle.wait_s("ann", "10.0.0.1") == 0
    for _ in range(throttle.PAIR.tries):
        sign_in("ann", "wrong")
    request = RequestFactory().post("/login/", REMOTE_ADDR="10.0.0.1")
    form = SignInForm(request, {"username": "ann", "password": PASSWORD})
    assert not form.is_valid()
    assert form.has_error("__all__", "throttled")
    assert throttle.PAIR.window_s - 5 <= form.wait_s <= throttle.PAIR.window_s


def test_the_form_takes_the_right_password(person: MakeUser) -> None:
    user = person("ann", password=PASSWORD)
    request = RequestFactory().post("/login/")
    request.user = AnonymousUser()
    form = SignInForm(request, {"username": "ann", "password": PASSWORD})
    assert form.is_valid()
    assert form.get_user() == user
    bad = SignInForm(request, {"username": "ann", "password": "x"})
    assert not bad.is_valid()
    assert bad.wait_s == 0


def test_it_refuses_the_disabled(person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    User.objects.update(is_active=False)
    assert sign_in("ann", PASSWORD) is None


def test_it_stores_passwords_with_a_slow_hash() -> None:
    from hub import settings as real  # noqa: PLC0415 (the test settings use a fast one)

    assert real.PASSWORD_HASHERS == ["django.contrib.auth.hashers.Argon2PasswordHasher"]


class TestNewPassword:
    URL = "/account/"

    def change(self, client: Client, old: str, new: str, again: str = "") -> Any:
        names = ("old_password", "new_password1", "new_password2")
        return client.post(self.URL, dict(zip(names, (old, new, again or new), strict=True)))

    def test_it_ends_every_other_session(self, person: MakeUser) -> None:
        user = person("ann", password=PASSWORD)
        here, there = Client(), Client()
        for client in (here, there):
            client.force_login(user)
        assert self.change(here, PASSWORD, NEW).status_code == 302
        assert here.get(self.URL).status_code == 200
        assert there.get(self.URL)["Location"].startswith("/login/")
        assert (sign_in("ann", PASSWORD), sign_in("ann", NEW)) == (None, user)

    @pytest.mark.parametrize(
        ("old", "new", "again", "field"),
        [
            ("wrong", NEW, "", "old_password"),
            (PASSWORD, "short", "", "new_password2"),
            (PASSWORD, "12345678901", "", "new_password2"),
            (PASSWORD, NEW, "another pass phrase 9", "new_password2"),
        ],
    )
    def test_it_refuses(
        self, person: MakeUser, client: Client, old: str, new: str, again: str, field: str
    ) -> None:
        user = person("ann", password=PASSWORD)
        client.force_login(user)
        answer = self.change(client, old, new, again)
        assert answer.status_code == 400
        assert f'id="{field}-error"' in answer.content.decode()
        user.refresh_from_db()
        assert user.check_password(PASSWORD)

    def test_guesses_here_count_like_guesses_at_the_door(
        self, person: MakeUser, client: Client
    ) -> None:
        client.force_login(person("ann", password=PASSWORD))
        for _ in range(throttle.PAIR.tries):
            self.change(client, "wrong", NEW)
        assert "Too many attempts" in self.change(client, PASSWORD, NEW).content.decode()
        assert sign_in("ann", PASSWORD, "127.0.0.1") is None
