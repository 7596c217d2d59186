"""Quotas on storage and training: set aside, settled, given back; never more than there is."""

import datetime as dt
import threading
from dataclasses import replace

import pytest
from django.db import connection
from django.utils import timezone

from accounts import quotas
from accounts.models import Holding, Limit, User
from accounts.principals import Principal
from accounts.quotas import QuotaReached, Standing
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann")


@pytest.fixture
def who(ann: User) -> Principal:
    return session_of(ann)


def limit(subject: str, **limits: int) -> None:
    Limit.objects.create(subject=subject, **limits)


def test_it_takes_up_to_the_limit_and_no_more(who: Principal) -> None:
    limit(f"user:{who.user_id}", storage_bytes=100)
    quotas.reserve(who, "storage_bytes", 60, "dataset:1")
    quotas.reserve(who, "storage_bytes", 40, "dataset:2")
    with pytest.raises(QuotaReached, match="of which 0 are left"):
        quotas.reserve(who, "storage_bytes", 1, "dataset:3")
    quotas.settle("storage_bytes", "dataset:1", 30)
    quotas.reserve(who, "storage_bytes", 30, "dataset:3")
    quotas.release("storage_bytes", "dataset:2")
    quotas.reserve(
        who, "storage_bytes", 70, "dataset:3"
    )  # it grows: its own share is not in its way
    assert quotas.standing(who, "storage_bytes")[0] == Standing(f"user:{who.user_id}", 100, 100)


def test_a_team_shares_one_quota(who: Principal, person: MakeUser) -> None:
    other = replace(session_of(person("bob")), team_id=who.team_id)
    limit(f"team:{who.team_id}", training_minutes=10)
    quotas.reserve(who, "training_minutes", 8, "job:1")
    with pytest.raises(QuotaReached, match="this team is 10 minutes"):
        quotas.reserve(other, "training_minutes", 3, "job:2")
    assert not Holding.objects.filter(holder="job:2").exists()


def test_everyones_quota_is_each_persons(who: Principal, person: MakeUser) -> None:
    limit("everyone", storage_bytes=10)
    quotas.reserve(who, "storage_bytes", 10, "dataset:1")
    quotas.reserve(session_of(person("bob")), "storage_bytes", 10, "dataset:2")
    limit(f"user:{who.user_id}", storage_bytes=0)  # no limit for this one
    quotas.reserve(who, "storage_bytes", 1000, "dataset:3")


def test_training_counts_for_thirty_days(who: Principal) -> None:
    limit(f"user:{who.user_id}", training_minutes=10)
    quotas.reserve(who, "training_minutes", 10, "job:1")
    Holding.objects.update(at=timezone.now() - dt.timedelta(days=31))
    quotas.reserve(who, "training_minutes", 10, "job:2")


@pytest.mark.django_db(transaction=True)
def test_two_do_not_take_the_same_rest(who: Principal) -> None:
    limit(f"user:{who.user_id}", storage_bytes=5)
    taken, start = list[int](), threading.Barrier(8)

    def take(number: int) -> None:
        start.wait()
        try:
            quotas.reserve(who, "storage_bytes", 1, f"dataset:{number}")
            taken.append(number)
        except QuotaReached:
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 5
