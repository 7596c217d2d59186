"""Refusals and failed sign-ins in the audit log: told, and bounded however many there are."""

import json

import pytest
from django.test import Client

from accounts import actors, keys, notices
from accounts.models import AuditRow
from tests.accounts.conftest import PASSWORD, MakeUser, session_of

pytestmark = pytest.mark.django_db


def rows(action: str) -> list[AuditRow]:
    notices.flush(everything=True)
    return list(AuditRow.objects.filter(action=action).order_by("seq"))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    notices.drop()


def new(action: str, before: int) -> list[AuditRow]:
    return rows(action)[before:]


def test_the_first_is_written_at_once_and_the_rest_as_one() -> None:
    before = AuditRow.objects.count()
    ann = actors.Actor("user", "ann", 7, address="192.0.2.7")
    notices.refused("permission.refuse", "scope", "users:manage", who=ann)
    assert notices.flush() == 1
    for _ in range(500):
        notices.refused("permission.refuse", "scope", "users:manage", who=ann)
    assert notices.flush() == 0
    assert notices.flush(everything=True) == 1
    first, rest = AuditRow.objects.order_by("seq")[before:]
    assert (first.times, rest.times) == (1, 500)
    assert {first.actor, rest.actor} == {"ann"}
    assert {first.address, rest.address} == {"192.0.2.7"}


def test_an_attacker_with_many_addresses_writes_few_rows() -> None:
    before = AuditRow.objects.count()
    for number in range(5000):
        nobody = actors.nobody(f"192.0.2.{number}", f"req_{number}")
        notices.refused("credential.refuse", "key", f"k{number}", "invalid", nobody)
    notices.flush(everything=True)
    written = AuditRow.objects.order_by("seq")[before:]
    assert len(written) == notices.MOST + 1
    assert sum(row.times for row in written) == 5000


def test_a_wrong_password_is_told_without_the_password(client: Client, person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    before = len(rows("login.fail"))
    client.post("/login/", {"username": "ann", "password": "plum-tart-wrong"})
    client.post("/login/", {"username": "typed-my-password-here", "password": "x"})
    known, unknown = new("login.fail", before)
    assert (known.object_name, known.outcome, known.address) == ("ann", "refused", "127.0.0.1")
    assert unknown.object_name.startswith("unknown (")
    text = "".join(f"{row.object_name}{row.after}" for row in (known, unknown))
    assert "plum-tart" not in text
    assert "typed-my" not in text


def test_signing_in_and_out_is_told(client: Client, person: MakeUser) -> None:
    person("ann", password=PASSWORD)
    client.post("/login/", {"username": "ann", "password": PASSWORD})
    client.post("/logout/")
    done, end = AuditRow.objects.filter(action__in=("login.done", "login.end")).order_by("seq")[:2]
    assert (done.action, done.actor, done.actor_kind) == ("login.done", "ann", "user")
    assert (end.action, end.actor) == ("login.end", "ann")


def test_a_missing_right_is_told(client: Client, person: MakeUser) -> None:
    before = len(rows("permission.refuse"))
    vera = person("vera", "developer")
    _, plaintext = keys.issue(vera, "k", ["models:read"], by=session_of(vera))
    with_key = Client(headers={"x-api-key": plaintext})
    client.force_login(vera)
    assert client.post("/aliases/new/", {}).status_code == 403
    body = {"name": "x", "targets": []}
    assert with_key.post("/api/v1/aliases", body, "application/json").status_code == 403
    told = new("permission.refuse", before)
    assert {row.object_name for row in told} == {"models:write"}
    assert {(row.actor_kind, row.actor) for row in told} == {("user", "vera"), ("key", "vera")}


def test_a_refused_key_is_told_by_its_public_id(client: Client, person: MakeUser) -> None:
    owner = person()
    key, plaintext = keys.issue(owner, "laptop", by=session_of(owner))
    keys.revoke(key, session_of(owner))
    before = len(rows("credential.refuse"))
    assert client.get("/api/v1/me", headers={"x-api-key": plaintext}).status_code == 401
    assert client.get("/api/v1/me").status_code == 401
    (told,) = new("credential.refuse", before)
    assert told.object_name == key.public_id
    assert json.loads(told.after) == {"reason": "revoked"}
    assert plaintext[16:24] not in str(told.__dict__)
