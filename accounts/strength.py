"""How well a session was begun, and whose must be begun with a second factor. The door and pages ask."""

from collections.abc import Iterable

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction

from accounts import audit, epoch
from accounts.models import SignInRules, User

HOW = "hub_how"  # session key: how the person signed in
STRONG = frozenset({"totp", "passkey", "recovery", "sso"})  # what counts as a second factor


def required_roles() -> frozenset[str]:
    """Name the roles that sign in with a second factor only."""
    rules = SignInRules.objects.first()
    return frozenset(rules.roles_with_factor) if rules else frozenset()


def require_factor(roles: Iterable[str]) -> None:
    """Ask these roles, and no other, for a second factor from now on."""
    wanted = {"roles_with_factor": sorted(set(roles))}
    with transaction.atomic():
        before = {"roles_with_factor": sorted(required_roles())}
        SignInRules.objects.update_or_create(pk=1, defaults=wanted)
        audit.record("sign_in_rules.change", "settings", "sign-in", before=before, after=wanted)
        epoch.bump()


def holds(session: SessionBase, user: User) -> bool:
    """Tell whether a session was begun well enough for what its person's role asks now."""
    return session.get(HOW) in STRONG or user.role not in required_roles()
