"""API keys: issue, rotate, revoke, list, look up. The dashboard, the API and the command line call these."""

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts import audit, crypto, epoch, key_rules, peppers, principals
from accounts.key_rules import KeyRefused, NotHeld
from accounts.models import ApiKey, ApiKeys, Limit, Team, User
from accounts.models.limits import COUNTED
from accounts.principals import Principal

__all__ = [
    "KeyRefused",
    "NotHeld",
    "issue",
    "listing",
    "lookup",
    "revoke",
    "rotate",
    "under_old_peppers",
]

logger = logging.getLogger(__name__)

MAKES_MODELS = {"models:write", "models:manage", "models:*"}
LONGEST_OVERLAP = dt.timedelta(days=30)


class Narrow(TypedDict, total=False):
    """What a key is bound to. `team`: the issuer's or the owner's own; empty lists mean all."""

    team: Team | None
    expires_at: dt.datetime | None
    models: Iterable[str]
    networks: Iterable[str]


def issue(
    owner: User,
    name: str,
    wanted: Iterable[str] | None = None,
    *,
    by: Principal,
    **narrow: Unpack[Narrow],
) -> tuple[ApiKey, str]:
    """Make a key and return it with its plaintext, which is never to be seen again.

    `wanted` scopes default to the usual ones that owner and issuer hold. Raises: KeyRefused, NotHeld.
    """
    expires_at = narrow.get("expires_at")
    there = _member(owner, narrow.get("team"), by)
    key_rules.check_issuer(owner, _team_of(there), by)
    granted = key_rules.granted(there, wanted, _team_of(there), by)
    names, allowed = (
        key_rules.models(narrow.get("models", ())),
        key_rules.networks(narrow.get("networks", ())),
    )
    key_rules.check_expiry(expires_at)
    key_rules.check_limits_of(by, expires_at, names, allowed)
    if not set(granted) & MAKES_MODELS:  # whoever adds models may be given a name to make
        key_rules.check_known(names, by)
    with transaction.atomic():
        key, plaintext = _made(
            name=key_rules.named(name),
            owner=owner,
            team_id=there.team_id,
            scopes=granted,
            models_allowed=names,
            networks_allowed=[str(network) for network in allowed],
            expires_at=expires_at,
        )
        audit.record("key.issue", "key", key.public_id, pk=key.pk, after=_shown(key))
    return key, plaintext


def rotate(
    key: ApiKey, by: Principal, overlap: dt.timedelta = dt.timedelta()
) -> tuple[ApiKey, str]:
    """Make a key that may do the same, within the same limits; the old one works on for the overlap, or ends now.

    Raises: NotHeld; KeyRefused, where the key has ended already.
    """
    key_rules.check_keeper(key, by, takes=True)
    if not dt.timedelta() <= overlap <= LONGEST_OVERLAP:
        raise KeyRefused("The old key may work on for 30 days at most.", "overlap_s")
    with transaction.atomic():
        old = ApiKey.objects.select_for_update().select_related("owner", "team").get(pk=key.pk)
        if old.state != "active":
            raise KeyRefused("This key has ended: make a new one.", "key")
        there = _member(old.owner, old.team, by)
        key_rules.granted(there, old.scopes, old.team.pk, by)
        networks = key_rules.networks(old.networks_allowed)
        key_rules.check_limits_of(by, old.expires_at, old.models_allowed, networks)
        made = _made(follows=old, **_same(old))
        _limit_as(old, made[0])
        _end(old, timezone.now() + overlap)
        epoch.bump()
        ends = {"ends": str(old.expires_at), "follows": old.public_id}
        after = _shown(made[0]) | ends
        audit.record("key.rotate", "key", made[0].public_id, pk=made[0].pk, after=after)
    return made


def revoke(key: ApiKey, by: Principal) -> None:
    """End a key on every process within 2 s; a second time changes nothing. Raises: NotHeld."""
    key_rules.check_keeper(key, by)
    with transaction.atomic():
        now = timezone.now()
        if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now):
            key.revoked_at = now
            audit.record("key.revoke", "key", key.public_id, pk=key.pk, before=_shown(key))
        epoch.bump()


def listing(principal: Principal) -> ApiKeys:
    """Return the keys this principal may see: own ones, those of teams they manage, or all."""
    return ApiKey.objects.select_related("owner", "team").visible_to(principal)


def lookup(plaintext: str) -> ApiKey | None:
    """Find the key that this text is, whatever its state; one query, none for a mistyped key."""
    public_id = crypto.public_id_of(plaintext)
    if public_id is None:
        return None
    peppers.read_ring()
    key = ApiKey.objects.select_related("owner").filter(public_id=public_id).first()
    newest = peppers.version(peppers.newest())
    kept, version = (bytes(key.digest), key.pepper) if key else (crypto.NOBODYS, newest)
    is_right = peppers.matches(kept, plaintext, version)  # an unknown id takes as long
    return _renewed(key, plaintext) if key is not None and is_right else None


def under_old_peppers() -> ApiKeys:
    """Give the keys that work and were not used since the newest pepper came."""
    return ApiKey.objects.working().exclude(pepper=peppers.version(peppers.newest()))


def _renewed(key: ApiKey, plaintext: str) -> ApiKey:
    """Digest a key with the newest pepper, now that its text is here."""
    fields = _digested(plaintext)
    if key.pepper == fields["pepper"]:
        return key
    try:
        with transaction.atomic():
            same = ApiKey.objects.filter(pk=key.pk, pepper=key.pepper)
            same.update(**fields)
    except DatabaseError:  # full, busy or closed to writing: the next use tries again
        logger.warning("A key keeps its old pepper for now: %s", key.public_id)
        return key
    key.digest, key.pepper = fields["digest"], fields["pepper"]
    return key


def _digested(plaintext: str) -> dict[str, Any]:
    pepper = peppers.newest()
    return {"digest": crypto.digest(pepper, plaintext), "pepper": peppers.version(pepper)}


def _member(owner: User, team: Team | None, by: Principal) -> Principal:
    """Give who the owner is in the key's team. Raises: KeyRefused."""
    own = by.team_id if owner.pk == by.user_id else None
    there = principals.of_member(owner, team.pk if team is not None else own)
    if there is None:
        where = team.name if team is not None else "any team"
        raise KeyRefused(f"{owner.username} is no member of {where}.", "team")
    return there


def _team_of(there: Principal) -> int:
    if there.team_id is None:
        raise KeyRefused("A key belongs to a team.", "team")
    return there.team_id


def _made(**fields: Any) -> tuple[ApiKey, str]:
    new = crypto.new_key()
    peppers.read_ring()
    digested = _digested(new.plaintext)
    key = ApiKey.objects.create(public_id=new.public_id, **digested, **fields)
    return key, new.plaintext


def _same(key: ApiKey) -> dict[str, Any]:
    names = ("name", "owner", "team", "scopes", "models_allowed", "networks_allowed", "expires_at")
    return {name: getattr(key, name) for name in names}


def _limit_as(old: ApiKey, new: ApiKey) -> None:
    """Give a key the limits of the one that it follows."""
    given = Limit.objects.filter(subject=f"key:{old.public_id}").values(*COUNTED).first() or {}
    if any(value is not None for value in given.values()):
        subject = f"key:{new.public_id}"
        Limit.objects.create(subject=subject, **given)
        audit.record("limit.put", "limit", subject, pk=subject, after=given)


def _shown(key: ApiKey) -> dict[str, Any]:
    """Give what the audit log keeps of a key."""
    names = ("name", "scopes", "models_allowed", "networks_allowed", "expires_at")
    named = {"owner": key.owner.username, "team": key.team.name}
    return {name: getattr(key, name) for name in names} | named


def _end(key: ApiKey, at: dt.datetime) -> None:
    """The overlap never lengthens a life."""
    if key.expires_at is None or key.expires_at > at:
        key.expires_at = at
        key.save(update_fields=["expires_at"])
