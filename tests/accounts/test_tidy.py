"""What has run out is forgotten, and nothing else."""

import datetime as dt

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from oauth2_provider.models import AccessToken

from accounts import tidy, tokens
from accounts.models import Grant, Visit
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.signing import password_step


@pytest.mark.django_db
def test_it_forgets_what_ran_out(person: MakeUser) -> None:
    ann = person("ann", password=PASSWORD)
    for _ in range(2):
        password_step(Client())
        tokens.issue(session_of(ann), ann, ["models:read"], None, "ci", "")
    past = timezone.now() - dt.timedelta(days=8)
    AccessToken.objects.create(user=ann, token="x", expires=past, scope="")
    Session.objects.filter(pk=Visit.objects.first().session_key).update(expire_date=past)  # type: ignore[union-attr]
    Grant.objects.filter(pk=Grant.objects.first().pk).update(expires_at=past)  # type: ignore[union-attr]
    tidy.sweep()
    left = [Session.objects.count(), Visit.objects.count(), Grant.objects.count()]
    assert left == [1, 1, 1]
    assert not AccessToken.objects.exists()
