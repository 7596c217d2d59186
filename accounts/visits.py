"""Signed-in browsers: begun, seen, listed, ended; and how well each proved who sits at it.

`sign_in` begins them; My account and Access list and end them.
"""

import time
from collections.abc import Iterable

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts import audit, session_store
from accounts.backends import address_of
from accounts.models import User, Visit
from accounts.principals import Principal
from accounts.strength import HOW

PROVED_AT = "hub_proved_at"  # session key
PROOF_S = 10 * 60  # how long a proof opens sensitive changes
SEEN_S = 60.0  # between two notes that a browser is still there
DEVICE_CHARS = 200

_noted: dict[str, float] = {}  # digest of a session's key -> monotonic time
_NOTED_ENTRIES = 10_000


def begin(request: HttpRequest, user: User, how: str) -> None:
    """Note a browser that has just signed in."""
    request.session[HOW] = how
    prove(request)
    _keep(request, user, how)


def renew(request: HttpRequest, user: User) -> None:
    """Follow a session to its new key, after a change of the password."""
    prove(request)
    _keep(request, user, str(request.session.get(HOW, "")))


def _keep(request: HttpRequest, user: User, how: str) -> None:
    if request.session.session_key is None:
        request.session.create()
    device = request.headers.get("User-Agent", "")[:DEVICE_CHARS]
    Visit.objects.update_or_create(
        session_key=key_of(request),
        defaults={"user": user, "device": device, "address": address_of(request), "how": how},
    )


def key_of(request: HttpRequest) -> str:
    """Give what is kept of the key of this browser's session."""
    return session_store.digest(request.session.session_key)


def prove(request: HttpRequest) -> None:
    """Note that whoever sits at the browser has just shown who they are."""
    request.session[PROVED_AT] = int(time.time())


def is_proved(request: HttpRequest) -> bool:
    """Tell whether a sensitive change may be made without asking again."""
    age_s = time.time() - int(request.session.get(PROVED_AT, 0))
    return 0 <= age_s < PROOF_S


def seen(session_key: str, address: str) -> None:
    """Note, once a minute, that a browser is still there and from where."""
    now = time.monotonic()
    if now - _noted.get(session_key, -SEEN_S) < SEEN_S:
        return
    while len(_noted) >= _NOTED_ENTRIES:
        _noted.pop(next(iter(_noted)), None)
    _noted[session_key] = now
    Visit.objects.filter(session_key=session_key).update(seen_at=timezone.now(), address=address)


def listing(principal: Principal) -> QuerySet[Visit]:
    """Give the browsers that this principal may see: their own, or all with `admin:users`."""
    visits = _live().select_related("user")
    return visits if principal.allows("admin:users") else visits.filter(user=principal.user_id)


def of(user: User) -> QuerySet[Visit]:
    """Give the browsers that somebody is signed in with now."""
    return _live().filter(user=user)


def _live() -> QuerySet[Visit]:
    live = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    return Visit.objects.filter(session_key__in=live)


def end(visits: Iterable[Visit]) -> int:
    """End sessions, on every process within 2 s; give how many."""
    ended = list(visits)
    keys = [visit.session_key for visit in ended]
    with transaction.atomic():
        Session.objects.filter(session_key__in=keys).delete()  # its signal bumps the epoch
        Visit.objects.filter(session_key__in=keys).delete()
        for visit in ended:
            where = {"device": visit.device, "address": visit.address}
            audit.record("session.end", "user", visit.user.username, pk=visit.user_id, before=where)
    return len(keys)


def sweep() -> int:
    """Forget visits whose session is over; give how many."""
    live = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    return Visit.objects.exclude(session_key__in=live).delete()[0]
