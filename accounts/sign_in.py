"""How a browser signs in: a first proof (password, passkey, provider), then a factor where one is wanted.

Between the two the session holds who is asked for the factor, for five minutes, and opens nothing.
"""

import time
from dataclasses import dataclass

from django.contrib.auth import login, logout
from django.db import transaction
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from accounts import audit, factors, strength, visits
from accounts.models import User

WAITING = "hub_waiting"  # session key
WAIT_S = 5 * 60
BACKEND = "accounts.backends.PasswordBackend"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whose second factor is asked for, and where they want to go."""

    user: User
    target: str
    must_enrol: bool  # their role wants a factor, and they have none


def first_step(request: HttpRequest, user: User, how: str, target: str) -> bool:
    """Sign in where nothing more is wanted; else keep who waits. Tells whether it is done."""
    strong = how in strength.STRONG
    held = factors.held(user)
    if strong or not (held.any or user.role in strength.required_roles()):
        finish(request, user, how)
        return True
    request.session.flush()  # nobody may have planted this session's key
    request.session[WAITING] = {
        "user": user.pk,
        "proof": user.get_session_auth_hash(),
        "target": target,
        "at": int(time.time()),
    }
    return False


def waiting(request: HttpRequest) -> Waiting | None:
    """Give who waits in this session, None where nobody does or it took too long."""
    kept = request.session.get(WAITING)
    if not kept or not 0 <= time.time() - kept["at"] < WAIT_S:
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or not constant_time_compare(kept["proof"], user.get_session_auth_hash()):
        return None
    return Waiting(user, kept["target"], not factors.held(user).any)


def finish(request: HttpRequest, user: User, how: str) -> None:
    """Begin the session, with a key of its own."""
    request.session.pop(WAITING, None)
    with transaction.atomic():
        login(request, user, backend=BACKEND)
        visits.begin(request, user, how)
        audit.record("login.done", "user", user.username, pk=user.pk, after={"how": how})


def end(request: HttpRequest) -> None:
    """Sign this browser out."""
    with transaction.atomic():
        if isinstance(request.user, User):
            audit.record("login.end", "user", request.user.username, pk=request.user.pk)
        logout(request)
