"""The form of limits: names without a query for each, and numbers as people write them."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import keys, limit_rows, people, principals
from accounts.models import ApiKey, User
from hub.dashboard import limits_form

PASSWORD = "correct horse battery"
KEY = {"name": "laptop", "scopes": "models:read", "team": "default", "lifetime": "0"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def admin() -> User:
    return people.create("ada", PASSWORD, role=User.Role.ADMIN)


def test_many_keys_are_named_by_one_query(
    admin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    who = principals.of_user(admin)
    for name in ("laptop", "phone", "robot"):
        key, _plaintext = keys.issue(admin, name, by=who)
        limit_rows.put(limit_rows.about(who, "key", key.public_id), {"requests_per_minute": 5})
    with django_assert_num_queries(3):  # the rows, which keys are there, their names
        found = limits_form.listing()
    assert {form.title for form in found} == {"laptop", "phone", "robot"}


def test_a_key_gets_limits_when_it_is_made(admin: User, client: Client) -> None:
    client.force_login(admin)
    page = client.post("/keys/new/", KEY | {"tokens_per_hour": "12 000"})
    assert page.status_code == 200
    assert limit_rows.of(f"key:{ApiKey.objects.get().public_id}")["tokens_per_hour"] == 12_000


def test_no_key_is_made_with_a_limit_that_is_no_number(admin: User, client: Client) -> None:
    client.force_login(admin)
    page = client.post("/keys/new/", KEY | {"tokens_per_hour": "many"})
    assert page.status_code == 400
    assert "A limit is a whole number." in page.content.decode()
    assert not ApiKey.objects.exists()
