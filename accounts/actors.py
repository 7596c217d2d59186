"""Who is acting now, and from where: bound at each door, read where the audit log is written.

Doors are the middleware, `OneDoor`, the `/v1` door and `HubCommand`; a thread or task that goes
on for somebody later binds it again with `acting`.
"""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from accounts.principals import Principal

Kind = Literal["user", "key", "service", "nobody", "command", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Labels only, so that they hold when the person or the key is gone."""

    kind: Kind
    name: str
    user_id: int | None = None
    key_id: str = ""
    address: str = ""
    request_id: str = ""


_now: ContextVar[Callable[[], Actor] | None] = ContextVar("actor", default=None)


def now() -> Actor:
    """Give who acts; a process that nobody asked is the system."""
    found = _now.get()
    return system() if found is None else found()


def bind(actor: Callable[[], Actor] | None) -> None:
    """Say who acts until this context ends; asked only where something is written."""
    _now.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Say who acts inside this block."""
    token = _now.set(lambda: actor)
    try:
        yield
    finally:
        _now.reset(token)


def of(who: Principal, address: str | None = "", request_id: str = "") -> Actor:
    """Name whoever the one door let in."""
    kind: Kind = "user" if who.key_id is None else "key"
    return Actor(kind, who.username, who.user_id, who.key_id or "", address or "", request_id)


def nobody(address: str | None = "", request_id: str = "") -> Actor:
    """Name a visitor who is not signed in."""
    return Actor("nobody", "", address=address or "", request_id=request_id)


def command() -> Actor:
    """Name the user of the machine who runs a command."""
    try:
        return Actor("command", getpass.getuser())
    except (KeyError, OSError):  # a user id without a name
        return Actor("command", "")


def system() -> Actor:
    """Name this process: the worker, a server, or a program of somebody's own."""
    return Actor("system", " ".join(sys.argv[1:2])[:64])
