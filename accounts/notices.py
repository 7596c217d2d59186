"""What strangers can cause, for the audit log: refusals and failed sign-ins, bounded in rows.

Noted in memory; the first of a kind is written within seconds, its repeats as one row at the end of
the minute. Past `MOST` kinds a minute, further ones of an action share a row without names.
"""

import threading
import time
from dataclasses import dataclass, replace

from accounts import actors, audit, crypto
from accounts.actors import Actor
from accounts.later import Later
from accounts.models import User

WINDOW_S = 60.0
FLUSH_S = 5.0
MOST = 60  # kinds in one window of one process


@dataclass(frozen=True, slots=True)
class Event:
    """What is told as one kind: all but the request."""

    action: str
    kind: str
    name: str
    reason: str
    outcome: str
    actor: Actor


@dataclass(slots=True)
class _Window:
    began_at: float
    count: int = 0
    written: int = 0
    request_id: str = ""


_open: dict[Event, _Window] = {}
_lock = threading.Lock()


def refused(action: str, kind: str, name: str, reason: str = "", who: Actor | None = None) -> None:
    """Note a refusal; `who` defaults to whoever acts now. Writes nothing itself, and never fails."""
    actor = who or actors.now()
    plain = replace(actor, request_id="")
    note(Event(action, kind, name, reason, audit.Outcome.REFUSED, plain), actor.request_id)


def sign_in_failed(username: str, address: str, step: str) -> None:
    """Note a failed sign-in; a name that nobody has may be a password in the wrong field."""
    known = User.objects.filter(username=username).exists()
    name = username if known else f"unknown ({crypto.short_digest(username)})"
    refused("login.fail", "user", name, step, actors.nobody(address, actors.now().request_id))


def note(event: Event, request_id: str = "") -> None:
    """Count an event."""
    with _lock:
        if event not in _open and len(_open) >= MOST:
            event = replace(event, kind="", name="", reason="", actor=actors.nobody())
        window = _open.setdefault(event, _Window(time.monotonic(), request_id=request_id))
        window.count += 1
    _later.arm()


def flush(*, everything: bool = False) -> int:
    """Write the first of each kind, and the repeats of windows that are over; give how many rows."""
    rows = 0
    for event, window in _snapshot():
        count = window.count - window.written
        is_over = everything or time.monotonic() - window.began_at >= WINDOW_S
        if count and (is_over or not window.written):
            _write(event, window, count)
            window.written += count
            rows += 1
        with _lock:
            if is_over and window.written == window.count:
                _open.pop(event, None)
    return rows


def _snapshot() -> list[tuple[Event, _Window]]:
    with _lock:
        return list(_open.items())


def drop() -> None:
    """Forget what was noted and stop the timer: between tests."""
    _later.cancel()
    with _lock:
        _open.clear()


def _write(event: Event, window: _Window, count: int) -> None:
    request_id = "" if window.written else window.request_id
    with actors.acting(replace(event.actor, request_id=request_id)):
        after = {"reason": event.reason} if event.reason else None
        audit.record(
            event.action, event.kind, event.name, after=after, outcome=event.outcome, times=count
        )


_later = Later(
    FLUSH_S, flush, lambda: _open, "some refusals could not be written to the audit log yet"
)
