"""Revoked, demoted, disabled, deleted, signed out: within 2 s on every process, warm caches too."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client

from accounts import keys, scopes, session_store, strength, visits
from accounts.models import ApiKey, User, Visit
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT_S = 2.0  # Source: the project's rules of trust
PROCESSES = 2
HELD = ",".join(sorted(scopes.expand(["inference", "training"])))
VIEWS = ",".join(sorted(scopes.ROLES["viewer"]))

Observed = list["subprocess.Popen[str]"]


def database_url() -> str:
    """Return where the test's own database is."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{connection.settings_dict['NAME']}"
    connection.ensure_connection()
    server = connection.connection.info
    where = urlencode({"host": server.host, "port": server.port})
    return f"postgresql://{server.user}:{server.password}@/{server.dbname}?{where}"


@pytest.fixture
def observe(tmp_path: Path) -> Iterator[Callable[[str, str], Observed]]:
    """Start processes that watch one credential."""
    with ExitStack() as stack:

        def start(header: str, value: str) -> Observed:
            environment = {
                "DJANGO_SETTINGS_MODULE": "hub.settings",
                "AI_HUB_DATA": str(tmp_path),
                "AI_HUB_DATABASE_URL": database_url(),
                "AI_HUB_REDIS_URL": django_settings.HUB_REDIS_URL,
                "AI_HUB_KEY_PEPPER": b",".join(django_settings.HUB_KEY_PEPPERS).decode(),
                "AI_HUB_SECRET_KEY": django_settings.SECRET_KEY,
            }
            command = [sys.executable, "-m", "tests.accounts.observer", header, value]
            started = []
            for _ in range(PROCESSES):
                process = subprocess.Popen(
                    command, env=environment, text=True, stdout=subprocess.PIPE
                )
                stack.callback(process.wait)
                stack.callback(process.kill)
                started.append(process)
            return started

        yield start


def said(observers: Observed) -> list[str]:
    """Wait for the next change that each process sees."""
    return [one.stdout.readline().strip() for one in observers if one.stdout]


def key_of(owner: User) -> str:
    return keys.issue(owner, "k", ["inference", "training"], by=session_of(owner))[1]


def revoke(owner: User) -> None:
    keys.revoke(ApiKey.objects.get(), by=session_of(owner))


def demote(owner: User) -> None:
    owner.role = User.Role.VIEWER
    owner.save()


def disable(owner: User) -> None:
    owner.is_active = False
    owner.save(update_fields=["is_active"])


def delete(owner: User) -> None:
    owner.delete()


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (revoke, "out revoked"),
        (demote, "in"),
        (disable, "out disabled"),
        (delete, "out invalid"),
    ],
)
def test_a_key_loses_its_rights_everywhere(
    person: MakeUser,
    observe: Callable[[str, str], Observed],
    act: Callable[[User], None],
    seen: str,
) -> None:
    owner = person(role="trainer")
    observers = observe("x-api-key", key_of(owner))
    assert said(observers) == [f"in {HELD}"] * PROCESSES
    act(owner)
    acted_s = time.monotonic()
    assert said(observers) == [seen] * PROCESSES
    assert time.monotonic() - acted_s < LIMIT_S


@pytest.mark.parametrize(
    "how",
    ["sign out", "delete the session", "change the password", "end the browser", "ask for more"],
)
def test_a_session_ends_everywhere(
    person: MakeUser, observe: Callable[[str, str], Observed], client: Client, how: str
) -> None:
    user = person(role="viewer")
    client.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    observers = observe("cookie", f"{name}={client.cookies[name].value}")
    assert said(observers) == [f"in {VIEWS}"] * PROCESSES
    if how == "sign out":
        client.post("/logout/")
    elif how == "delete the session":
        Session.objects.all().delete()
    elif how == "end the browser":
        visits.end([Visit(user=user, session_key=session_store.digest(client.cookies[name].value))])
    elif how == "ask for more":
        strength.require_factor(["viewer"])
    else:
        user.set_password("another pass phrase 8")
        user.save()
    ended_s = time.monotonic()
    assert said(observers) == ["out invalid"] * PROCESSES
    assert time.monotonic() - ended_s < LIMIT_S
