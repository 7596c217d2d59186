"""Issuing, finding and revoking keys; nobody grants what they do not hold."""

import datetime as dt
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import key_rules, keys, scopes
from accounts.models import ApiKey
from inference.models import Alias, Model
from tests.accounts.conftest import MakeUser, session_of


def test_it_issues_a_key_that_is_found_again(person: MakeUser) -> None:
    owner = person()
    key, plaintext = keys.issue(owner, " laptop ", by=session_of(owner))
    assert keys.lookup(plaintext) == key
    assert (key.name, key.scopes, key.state) == ("laptop", ["inference", "models:read"], "active")


def test_it_stores_nothing_of_the_secret(
    person: MakeUser, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = person()
    _, plaintext = keys.issue(owner, "laptop", by=session_of(owner))
    call_command("dumpdata", "accounts")
    dump = capsys.readouterr().out
    assert plaintext[4:16] in dump
    assert plaintext[16:24] not in dump


def test_it_needs_no_query_for_a_mistyped_key(
    person: MakeUser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    owner = person()
    _, plaintext = keys.issue(owner, "laptop", by=session_of(owner))
    with django_assert_num_queries(0):
        assert keys.lookup(plaintext[:-1] + "!") is None
        assert keys.lookup(plaintext.swapcase()) is None


def test_it_does_not_find_a_key_of_another_pepper(person: MakeUser, settings: Settings) -> None:
    owner = person()
    _, plaintext = keys.issue(owner, "laptop", by=session_of(owner))
    settings.HUB_KEY_PEPPER_FILE = None
    settings.HUB_KEY_PEPPERS = [b"another"]
    assert keys.lookup(plaintext) is None


@pytest.mark.parametrize("role", scopes.ROLES)
def test_it_never_grants_more_than_the_role_holds(person: MakeUser, role: str) -> None:
    owner = person(role=role)
    for scope in scopes.SCOPES:
        if owner.allows(scope) and owner.allows("keys:manage"):
            key, _ = keys.issue(owner, "k", [scope], by=session_of(owner))
            assert key.scopes == [scope]
        else:
            with pytest.raises(keys.NotHeld):
                keys.issue(owner, "k", [scope], by=session_of(owner))


def test_it_never_grants_more_than_the_issuing_key_holds(person: MakeUser) -> None:
    owner = person(role="admin")
    by = replace(session_of(owner), scopes=scopes.expand(["keys:manage", "inference"]))
    with pytest.raises(keys.NotHeld, match="training"):
        keys.issue(owner, "k", ["training"], by=by)
    key, _ = keys.issue(owner, "k", by=by)
    assert key.scopes == ["inference"]


def test_it_issues_for_others_only_by_who_manages_people(person: MakeUser) -> None:
    owner, other, admin = person("a"), person("b"), person("c", "admin")
    with pytest.raises(keys.NotHeld):
        keys.issue(owner, "k", by=session_of(other))
    assert keys.issue(owner, "k", by=session_of(admin))[0].owner == owner
    with pytest.raises(keys.NotHeld, match="does not hold"):
        keys.issue(owner, "k", ["users:manage"], by=session_of(admin))


@pytest.mark.parametrize(
    ("field", "given_"),
    [
        ("name", {"name": "  "}),
        ("name", {"name": "x" * 101}),
        ("name", {"name": "a\nb"}),
        ("scopes", {"wanted": ["root"]}),
        ("scopes", {"wanted": []}),
        ("models", {"models": [""]}),
        ("models", {"models": [f"m{n}" for n in range(101)]}),
        ("networks", {"networks": ["10.0.0.1/8"]}),
        ("networks", {"networks": ["everywhere"]}),
        ("networks", {"networks": ["fe80::1%eth0"]}),
        ("expires_at", {"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}),
        ("expires_at", {"expires_at": dt.datetime(2999, 1, 1)}),
    ],
)
def test_it_names_the_bad_field(person: MakeUser, field: str, given_: dict[str, Any]) -> None:
    owner = person()
    with pytest.raises(keys.KeyRefused) as refused:
        keys.issue(owner, **{"name": "k", **given_}, by=session_of(owner))
    assert refused.value.field == field
    assert not ApiKey.objects.exists()


def test_it_does_not_widen_a_limited_key(person: MakeUser) -> None:
    owner = person()
    soon = timezone.now() + dt.timedelta(days=1)
    by = replace(session_of(owner), expires_at=soon)
    with pytest.raises(keys.NotHeld):
        keys.issue(owner, "k", by=by)
    assert keys.issue(owner, "k", by=by, expires_at=soon)
    Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
    by = replace(session_of(owner), models=frozenset({"m"}))
    for models in ([], ["n"], ["m", "n"]):
        with pytest.raises(keys.NotHeld):
            keys.issue(owner, "k", by=by, models=models)
    assert keys.issue(owner, "k", by=by, models=["m"])


def test_it_names_only_models_that_are_there(person: MakeUser) -> None:
    owner = person()
    mistral = Model.objects.create(name="mistral-7b", kind="llm", engine="fake", path="/m")
    Alias.objects.create(name="gpt-4o", target=mistral)
    with pytest.raises(keys.KeyRefused, match=r"named mistral-7\. Did you mean mistral-7b\?") as no:
        keys.issue(owner, "k", by=session_of(owner), models=["gpt-4o", "mistral-7"])
    assert no.value.field == "models"
    key, _ = keys.issue(owner, "k", by=session_of(owner), models=["gpt-4o", "mistral-7b"])
    assert key.models_allowed == ["gpt-4o", "mistral-7b"]


@given(st.integers(0, 32), st.integers(0, 32), st.integers(0, 2**32 - 1))
def test_it_keeps_a_new_key_inside_the_networks(outer: int, inner: int, address: int) -> None:
    wide = ip_network((address, outer), strict=False)
    narrow = ip_network((address, inner), strict=False)
    assert key_rules._inside(narrow, [wide]) == (inner >= outer)


def test_it_revokes_once(person: MakeUser) -> None:
    owner = person()
    key, plaintext = keys.issue(owner, "k", by=session_of(owner))
    keys.revoke(key, by=session_of(owner))
    first = ApiKey.objects.get().revoked_at
    keys.revoke(ApiKey.objects.get(), by=session_of(owner))
    found = keys.lookup(plaintext)
    assert found is not None
    assert (found.state, found.revoked_at) == ("revoked", first)


def test_it_lets_only_owner_and_admin_see_and_revoke(person: MakeUser) -> None:
    owner, other, admin = person("a"), person("b", "operator"), person("c", "admin")
    key, _ = keys.issue(owner, "k", by=session_of(owner))
    assert [
        list(ApiKey.objects.visible_to(session_of(user))) for user in (owner, other, admin)
    ] == [
        [key],
        [],
        [key],
    ]
    assert not keys.listing(session_of(other)).exists()
    with pytest.raises(keys.NotHeld):
        keys.revoke(key, by=session_of(other))
    keys.revoke(key, by=session_of(admin))
    assert key.state == "revoked"


def test_it_lists_working_keys(person: MakeUser) -> None:
    owner = person()
    by = session_of(owner)
    good, _ = keys.issue(owner, "good", by=by)
    dead, _ = keys.issue(owner, "dead", by=by)
    keys.revoke(dead, by=by)
    late, _ = keys.issue(owner, "late", by=by, expires_at=timezone.now() + dt.timedelta(hours=1))
    ApiKey.objects.filter(pk=late.pk).update(expires_at=timezone.now())
    assert list(ApiKey.objects.working()) == [good]
