"""Keys that are used from a new address: told once, off the hot path."""

import json

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import addresses, client_address, keys
from accounts.models import AuditRow
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db


def told() -> list[AuditRow]:
    addresses.flush()
    return list(AuditRow.objects.filter(action="key.new_address").order_by("seq"))


def test_a_request_from_a_new_address_is_told(client: Client, person: MakeUser) -> None:
    owner = person()
    key, plaintext = keys.issue(owner, "laptop", by=session_of(owner))
    before = len(told())
    for address in ("192.0.2.1", "192.0.2.1", "198.51.100.7"):
        client.get("/api/v1/me", headers={"x-api-key": plaintext}, REMOTE_ADDR=address)
    rows = told()[before:]
    assert {row.address for row in rows} == {"192.0.2.1", "198.51.100.7"}
    assert len(rows) == 2
    assert {(row.actor, row.key_id, row.object_name) for row in rows} == {
        (owner.username, key.public_id, key.public_id)
    }


def test_every_new_address_is_told(person: MakeUser) -> None:
    owner = person()
    key, _ = keys.issue(owner, "laptop", by=session_of(owner))
    before = len(told())
    for address in ("192.0.2.1", "192.0.2.1", "198.51.100.7", "::ffff:192.0.2.1", None):
        addresses.note(key.pk, address)
    places = [json.loads(row.after)["address"] for row in told()[before:]]
    assert sorted(places) == ["192.0.2.1", "198.51.100.7"]
    addresses.drop()
    addresses.note(key.pk, "192.0.2.1")
    assert len(told()) == before + 2


def test_one_subscriber_of_ipv6_is_one_place() -> None:
    place_of = client_address.place_of
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff")
    assert place_of("2001:db8:0:1::1") != place_of("2001:db8::1")


def test_a_known_address_costs_nothing(
    person: MakeUser, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    owner = person()
    key, _ = keys.issue(owner, "laptop", by=session_of(owner))
    addresses.note(key.pk, "192.0.2.1")
    addresses.flush()
    with django_assert_num_queries(0):
        addresses.note(key.pk, "192.0.2.1")
        assert addresses.flush() == 0


def test_a_key_with_a_thousand_addresses_writes_no_more_rows(
    person: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MOST_OF_A_KEY", 3)
    owner = person()
    key, _ = keys.issue(owner, "laptop", by=session_of(owner))
    before = len(told())
    for number in range(10):
        addresses.note(key.pk, f"192.0.2.{number}")
    assert len(told()) == before + 3
