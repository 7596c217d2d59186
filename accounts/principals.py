"""Who asks: the one answer of authentication, for every channel."""

import datetime as dt
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from accounts import scopes
from accounts.models import User

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Principal:
    """A person, by session or by key, with the rights that hold for this request.

    Invariant: `scopes` is a subset of what the owner's role holds now.
    """

    user_id: int
    username: str
    role: str
    scopes: frozenset[str]
    key_id: str | None = None  # the key's public id; None: a session or the command line
    models: frozenset[str] | None = None  # None: every model
    networks: tuple[Network, ...] = ()  # (): from everywhere
    expires_at: dt.datetime | None = None  # of the key
    is_active: bool = True  # DRF and Django ask for it
    is_authenticated: bool = True

    def allows(self, scope: str) -> bool:
        """Tell whether this scope is held."""
        return scope in self.scopes or scopes.WITHIN.get(scope) in self.scopes

    def allows_model(self, *names: str) -> bool:
        """Tell whether a model may be used; give the requested name and the resolved one."""
        return self.models is None or not self.models.isdisjoint(names)


def of_user(user: User) -> Principal:
    """Return the full rights of a person: a session, or the operator at the command line."""
    held = scopes.of_role(user.role) if user.is_active else frozenset[str]()
    return Principal(user_id=user.pk, username=user.username, role=user.role, scopes=held)


def operator_for(user: User) -> Principal:
    """Return who acts for a person at the command line: it holds every scope."""
    return replace(of_user(user), scopes=frozenset(scopes.SCOPES))
