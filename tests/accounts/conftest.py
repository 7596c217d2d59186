"""A real Valkey for the whole run, and people with roles."""

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import redis
from pytest_django import Settings

from accounts import authentication, connections, oidc, principals, scopes
from accounts.models import Role, User
from accounts.principals import Principal
from tests.accounts import foreign as theirs
from tests.accounts import provider as lying

PASSWORD = "a long enough pass phrase 7"


@pytest.fixture(autouse=True)
def valkey(redis_url: str, settings: Settings) -> redis.Redis:
    """An empty Valkey and an empty cache of rights."""
    settings.HUB_REDIS_URL = redis_url
    connections.forget()
    client = connections.blocking()
    client.flushall()
    authentication.forget()
    return client


@pytest.fixture
def away(valkey: redis.Redis, settings: Settings, tmp_path: Path) -> None:
    """Redis cannot be reached."""
    settings.HUB_REDIS_URL = f"unix://{tmp_path}/nobody"
    authentication.forget()


MakeUser = Callable[..., User]


@pytest.fixture
def person(db: None) -> MakeUser:
    """Make a person of a role; argon2 only where a password is asked for."""

    def make(username: str = "dev", role: str = "developer", password: str | None = None) -> User:
        user = User(username=username, role=role)
        user.set_password(password)
        user.save()
        return user

    return make


def session_of(user: User) -> Principal:
    return principals.of_user(user)


@pytest.fixture
def open_networks(settings: Settings) -> Iterator[None]:
    settings.HUB_SIGN_ON_NETWORKS = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    oidc.forget()
    yield
    oidc.forget()


@pytest.fixture
def idp() -> Iterator[lying.Provider]:
    with lying.serving() as started:
        yield started


@pytest.fixture
def foreign(person: MakeUser) -> dict[str, str]:
    """What belongs to another team, of every kind, by how a path names it."""
    return theirs.rows(person(f"{theirs.SECRET}-owner", "operator"))


@pytest.fixture
def outsider(person: MakeUser) -> User:
    """Holds everything but the sight of all teams and people."""
    hidden = {"admin:teams", "admin:users"}
    Role.objects.create(name="nearly", scopes=[s for s in scopes.SCOPES if s not in hidden])
    return person("otto", "nearly")
