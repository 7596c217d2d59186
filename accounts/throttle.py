"""How often something may be tried: sign-in by name and address, management calls by caller.

Counted in Redis over all processes; in this process alone while Redis is away.
"""

import hashlib
import math
import threading
import time
import unicodedata
from dataclasses import dataclass

from accounts import client_address, connections

PREFIX = "hub:throttle:"


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `tries` within `window_s` of the first one."""

    tries: int
    window_s: int


PAIR = Rule(5, 5 * 60)  # one name from one address
NAME = Rule(30, 15 * 60)  # one name from everywhere
ADDRESS = Rule(60, 15 * 60)  # all names from one address, or one IPv6 /64
SITE = Rule(600, 15 * 60)  # all names from one IPv6 /48, which many providers give to one customer
SITE_BITS = 48
FACTOR = Rule(5, 5 * 60)  # codes of one person, whose password was right
FACTOR_DAY = Rule(50, 24 * 3600)  # of a day: with three codes valid at once, 150 of a million


class TooMany(Exception):
    """Raised where a rule stands in the way."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many attempts. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


def attempt(username: str, address: str) -> None:
    """Count one attempt to sign in before the password is looked at. Raises: TooMany."""
    for name, rule in _counters(username, address):
        count(name, rule)


def wait_s(username: str, address: str) -> int:
    """Return how long the next attempt to sign in must wait; 0 when it need not."""
    states = [(_look(name), rule) for name, rule in _counters(username, address)]
    return max((left_s for (tries, left_s), rule in states if tries >= rule.tries), default=0)


def attempt_factor(user_id: int) -> None:
    """Count one attempt at a second factor before it is looked at. Raises: TooMany."""
    count(f"factor:{user_id}", FACTOR)
    count(f"factor-day:{user_id}", FACTOR_DAY)


def forgive_factor(user_id: int) -> None:
    """Forget the attempts of who has shown a factor: whoever guesses never gets here."""
    _forget([f"factor:{user_id}", f"factor-day:{user_id}"])


def forgive(username: str, address: str) -> None:
    """Forget the attempts of a name that has signed in; of the address, this one alone."""
    counters = _counters(username, address)
    _forget([name for name, rule in counters if rule in {PAIR, NAME}])
    for name, rule in counters:
        if rule in {ADDRESS, SITE}:
            give_back(name, rule)


def from_address(what: str, address: str) -> str:
    """Name the counter of something that is tried from an address, or from an IPv6 /64."""
    return f"{what}:{client_address.place_of(address)}"


def give_back(name: str, rule: Rule) -> None:
    """Uncount one try, which was no failure."""
    _add(name, rule, -1)


def _forget(names: list[str]) -> None:
    try:
        with connections.in_thread() as client:
            client.delete(*(PREFIX + name for name in names))
    except connections.Away:
        _local.delete(names)


def count(name: str, rule: Rule) -> None:
    """Count one try. Raises: TooMany."""
    tries, left_s = _add(name, rule)
    if tries > rule.tries:
        raise TooMany(max(1, left_s))


def _counters(username: str, address: str) -> list[tuple[str, Rule]]:
    """Names are hashed: what people type into the wrong field stays out of Redis."""
    name = _digest(unicodedata.normalize("NFKC", username).casefold())
    place = client_address.place_of(address)
    site = client_address.place_of(address, SITE_BITS)
    found = [
        (f"pair:{name}:{place}", PAIR),
        (f"name:{name}", NAME),
        (f"address:{place}", ADDRESS),
    ]
    return found if site == place else [*found, (f"site:{site}", SITE)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def _add(name: str, rule: Rule, more: int = 1) -> tuple[int, int]:
    """Return the tries of this window and the seconds that it lasts."""
    try:
        with connections.in_thread() as client, client.pipeline() as pipe:
            pipe.incrby(PREFIX + name, more)
            pipe.expire(PREFIX + name, rule.window_s, nx=True)
            pipe.ttl(PREFIX + name)
            tries, _, left_s = pipe.execute()
    except connections.Away:
        return _local.add(name, rule, more)
    return int(tries), int(left_s)


def _look(name: str) -> tuple[int, int]:
    try:
        with connections.in_thread() as client, client.pipeline() as pipe:
            pipe.get(PREFIX + name)
            pipe.ttl(PREFIX + name)
            tries, left_s = pipe.execute()
    except connections.Away:
        return _local.look(name)
    return int(tries or 0), int(left_s)


class _Local:
    """The same counters in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[int, float]] = {}  # tries, end

    def add(self, name: str, rule: Rule, more: int) -> tuple[int, int]:
        now = time.monotonic()
        with self._lock:
            self._windows = {n: window for n, window in self._windows.items() if window[1] > now}
            tries, ends = self._windows.get(name, (0, now + rule.window_s))
            self._windows[name] = tries + more, ends
        return tries + more, math.ceil(ends - now)

    def look(self, name: str) -> tuple[int, int]:
        now = time.monotonic()
        tries, ends = self._windows.get(name, (0, now))
        return (tries, math.ceil(ends - now)) if ends > now else (0, 0)

    def delete(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._windows.pop(name, None)


_local = _Local()
