"""How much a key and a person may ask for, out of `rate_limits` of config/hub.json."""

from dataclasses import dataclass

from django.conf import settings

from accounts.principals import Principal


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits; 0 means none."""

    requests_per_minute: int = 0
    tokens_per_hour: int = 0
    concurrent_requests: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is counted: a key or a user."""

    name: str
    quota: Quota


def subjects_of(principal: Principal) -> tuple[Subject, ...]:
    """Return who a request is counted for.

    The key and its owner each have the owner's limits; with `per_user_limits: false` each key
    stands alone.
    """
    limits = settings.HUB_CONFIG.rate_limits
    quota = _quota(limits)
    if isinstance(limits.per_user_limits, dict) and principal.username in limits.per_user_limits:
        quota = _quota(limits.per_user_limits[principal.username], quota)
    user = Subject(f"user:{principal.user_id}", quota)
    if principal.key_id is None:
        return (user,)
    key = Subject(f"key:{principal.key_id}", quota)
    return (key,) if limits.per_user_limits is False else (key, user)


def _quota(limits: object, default: Quota | None = None) -> Quota:
    """Read one set of limits; what it leaves open comes from the default."""
    names = ("requests_per_minute", "tokens_per_hour", "concurrent_requests")
    return Quota(**{name: getattr(limits, name) or getattr(default, name, 0) for name in names})
