"""API keys: issue, revoke, list, look up. The dashboard, the API and the command line call these."""

import datetime as dt
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from ipaddress import ip_network

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import crypto, epoch, scopes
from accounts.models import ApiKey, ApiKeys, User
from accounts.principals import Network, Principal

NAME_CHARS = 100
MAX_ENTRIES = 100  # models or networks of one key
MODEL_CHARS = 128
MAKES_MODELS = {"models:write", "models:manage"}


class KeyRefused(Exception):
    """A key cannot be issued or revoked; `field` is the argument at fault."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotHeld(KeyRefused):
    """The issuer asked for more than they hold."""


def issue(
    owner: User,
    name: str,
    wanted: Iterable[str] | None = None,
    *,
    by: Principal,
    expires_at: dt.datetime | None = None,
    models: Iterable[str] = (),
    networks: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """Make a key and return it with its plaintext, which is never to be seen again.

    `wanted` scopes default to the usual ones that owner and issuer hold; empty `models` and
    `networks` mean all of them. Raises: KeyRefused, NotHeld.
    """
    granted = _scopes(owner, wanted, by)
    names, allowed = _models(models), _networks(networks)
    _check_owner(owner, by)
    _check_expiry(expires_at)
    _check_limits_of(by, expires_at, names, allowed)
    if not set(granted) & MAKES_MODELS:  # whoever adds models may be given a name to make
        _check_known(names)
    new = crypto.new_key()
    key = ApiKey.objects.create(
        public_id=new.public_id,
        digest=crypto.digest(settings.HUB_KEY_PEPPER, new.plaintext),
        name=_name(name),
        owner=owner,
        scopes=granted,
        models_allowed=names,
        networks_allowed=[str(network) for network in allowed],
        expires_at=expires_at,
    )
    return key, new.plaintext


def revoke(key: ApiKey, by: Principal) -> None:
    """End a key on every process within 2 s; a second time changes nothing. Raises: NotHeld."""
    if key.owner_id != by.user_id and not by.allows("users:manage"):
        raise NotHeld("Only its owner or an admin may revoke a key.", "key")
    if not by.allows("keys:manage"):
        raise NotHeld("Revoking keys needs the scope keys:manage.", "key")
    with transaction.atomic():
        now = timezone.now()
        if ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=now):
            key.revoked_at = now
        epoch.bump()


def listing(principal: Principal) -> ApiKeys:
    """Return the keys this principal may see: their own, or all with `users:manage`."""
    keys = ApiKey.objects.select_related("owner")
    return keys if principal.allows("users:manage") else keys.filter(owner_id=principal.user_id)


def lookup(plaintext: str) -> ApiKey | None:
    """Find the key that this text is, whatever its state; one query, none for a mistyped key."""
    public_id = crypto.public_id_of(plaintext)
    if public_id is None:
        return None
    key = ApiKey.objects.select_related("owner").filter(public_id=public_id).first()
    found = crypto.digest(settings.HUB_KEY_PEPPER, plaintext)
    return key if key is not None and crypto.matches(bytes(key.digest), found) else None


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        raise KeyRefused(f"A key needs a name of 1 to {NAME_CHARS} printable characters.", "name")
    return name


def _scopes(owner: User, wanted: Iterable[str] | None, by: Principal) -> list[str]:
    if wanted is None:
        wanted = [scope for scope in scopes.DEFAULT if by.allows(scope) and owner.allows(scope)]
    asked = sorted(set(wanted))
    if bad := scopes.unknown(asked):
        known = ", ".join(scopes.SCOPES)
        raise KeyRefused(f"Unknown scope {bad[0]!r}. Scopes are: {known}.", "scopes")
    if not asked:
        raise KeyRefused("A key needs at least one scope.", "scopes")
    for scope in asked:
        if not by.allows(scope):
            raise NotHeld(f"You do not hold the scope {scope}, so you cannot grant it.", "scopes")
        if not owner.allows(scope):
            raise NotHeld(f"{owner.username} ({owner.role}) does not hold {scope}.", "scopes")
    return asked


def _models(names: Iterable[str]) -> list[str]:
    chosen = sorted(set(names))
    if len(chosen) > MAX_ENTRIES:
        raise KeyRefused(f"A key names at most {MAX_ENTRIES} models.", "models")
    for name in chosen:
        if not name or len(name) > MODEL_CHARS or not name.isprintable():
            raise KeyRefused("A model's name has 1 to 128 printable characters.", "models")
    return chosen


def _check_known(names: Iterable[str]) -> None:
    """A key for a model that is not there would be refused everywhere. `accounts` knows no models."""
    wanted = [*names]
    known: set[str] = import_string(settings.HUB_KNOWN_MODELS)() if wanted else set()
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=3)
            advice = f" Did you mean {', '.join(near)}?" if near else ""
            raise KeyRefused(f"There is no model or alias named {name}.{advice}", "models")


def _networks(texts: Iterable[str]) -> list[Network]:
    chosen = sorted(set(texts))
    if len(chosen) > MAX_ENTRIES:
        raise KeyRefused(f"A key names at most {MAX_ENTRIES} networks.", "networks")
    return [_network(text) for text in chosen]


def _network(text: str) -> Network:
    if "%" in text:  # a zone means something on one machine only, and never on this one
        raise KeyRefused(
            f"{text!r} has a zone: leave out what follows the address at %.", "networks"
        )
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise KeyRefused(
            f"{text!r} is no network: write an address or a range such as 10.0.0.0/8.", "networks"
        ) from error


def _check_owner(owner: User, by: Principal) -> None:
    if not by.allows("keys:manage"):
        raise NotHeld("Issuing keys needs the scope keys:manage.", "owner")
    if owner.pk != by.user_id and not by.allows("users:manage"):
        raise NotHeld("Issuing keys for someone else needs the scope users:manage.", "owner")


def _check_expiry(expires_at: dt.datetime | None) -> None:
    if expires_at is None:
        return
    if timezone.is_naive(expires_at):
        raise KeyRefused("The expiry needs a time zone.", "expires_at")
    if expires_at <= timezone.now():
        raise KeyRefused("The expiry must lie in the future.", "expires_at")


def _check_limits_of(
    by: Principal, expires_at: dt.datetime | None, models: list[str], networks: Sequence[Network]
) -> None:
    """A limited key issues only keys that are limited at least as much."""
    if by.expires_at is not None and (expires_at is None or expires_at > by.expires_at):
        raise NotHeld(f"The new key must expire by {by.expires_at.isoformat()}.", "expires_at")
    if by.models is not None and (not models or not by.models.issuperset(models)):
        raise NotHeld("The new key may name only models of the key that issues it.", "models")
    if by.networks and not (networks and all(_inside(net, by.networks) for net in networks)):
        raise NotHeld("The new key must stay within the issuing key's networks.", "networks")


def _inside(network: Network, outer: Iterable[Network]) -> bool:
    return any(
        network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
        for other in outer
    )
