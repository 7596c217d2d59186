"""What a new key may be: its name, scopes, models, networks, expiry. Asked by accounts.keys."""

import datetime as dt
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from ipaddress import ip_network

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import scopes
from accounts.denials import Refusal
from accounts.models import ApiKey, User
from accounts.principals import Network, Principal

NAME_CHARS = 100
MAX_ENTRIES = 100  # models or networks of one key
MODEL_CHARS = 128


class KeyRefused(Refusal):
    """A key cannot be issued or revoked; `field` is the argument at fault."""


class NotHeld(KeyRefused):
    """The issuer asked for more than they hold."""


def named(name: str) -> str:
    """Raises: KeyRefused."""
    name = name.strip()
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        raise KeyRefused(f"A key needs a name of 1 to {NAME_CHARS} printable characters.", "name")
    return name


def granted(owner: Principal, wanted: Iterable[str] | None, team: int, by: Principal) -> list[str]:
    """Check scopes; `owner` is who the owner is in this team. Raises: KeyRefused, NotHeld."""

    def held(scope: str) -> bool:
        return by.allows_in(scope, team) and owner.allows(scope)

    if wanted is None:
        wanted = [scope for scope in scopes.DEFAULT if held(scope)]
    asked = sorted(set(wanted))
    if bad := scopes.unknown(asked):
        known = ", ".join([*scopes.SCOPES, *scopes.WIDE])
        raise KeyRefused(f"Unknown scope {bad[0]!r}. Scopes are: {known}.", "scopes")
    if not asked:
        raise KeyRefused("A key needs at least one scope.", "scopes")
    for scope in asked:
        if not by.allows_in(scope, team) or _is_wider(scope, owner, by):
            raise NotHeld(f"You do not hold the scope {scope}, so you cannot grant it.", "scopes")
        if not owner.allows(scope):
            raise NotHeld(f"{owner.username} ({owner.role}) does not hold {scope} there.", "scopes")
    return asked


def _is_wider(scope: str, owner: Principal, by: Principal) -> bool:
    """Tell whether the owner's key would hold on the whole hub what its issuer holds in a team alone."""
    every = scopes.expand([scope])
    return any(owner.allows_on_hub(name) and not by.allows_on_hub(name) for name in every)


def models(names: Iterable[str]) -> list[str]:
    """Raises: KeyRefused."""
    chosen = sorted(set(names))
    if len(chosen) > MAX_ENTRIES:
        raise KeyRefused(f"A key names at most {MAX_ENTRIES} models.", "models")
    for name in chosen:
        if not name or len(name) > MODEL_CHARS or not name.isprintable():
            raise KeyRefused("A model's name has 1 to 128 printable characters.", "models")
    return chosen


def check_known(names: Iterable[str], by: Principal) -> None:
    """A key for a model that is not there would be refused everywhere. `accounts` knows no models.

    What the issuer may not see is not there. Raises: KeyRefused.
    """
    wanted = [*names]
    known: set[str] = import_string(settings.HUB_KNOWN_MODELS)(by) if wanted else set()
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=3)
            advice = f" Did you mean {', '.join(near)}?" if near else ""
            raise KeyRefused(f"There is no model or alias named {name}.{advice}", "models")


def networks(texts: Iterable[str]) -> list[Network]:
    """Raises: KeyRefused."""
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


def check_issuer(owner: User, team: int, by: Principal) -> None:
    """Raises: NotHeld, KeyRefused."""
    if not by.allows("keys:write"):
        raise NotHeld("Issuing keys needs the scope keys:write.", "owner")
    if by.key_id is not None and team != by.team_id and not by.sees_all:
        raise NotHeld("A key issues keys of its own team only.", "team")
    if owner.pk != by.user_id and not _keeps(owner, team, by):
        raise NotHeld("Issuing keys for someone else needs the scope admin:users.", "owner")


def check_keeper(key: ApiKey, by: Principal, *, takes: bool = False) -> None:
    """Tell whether somebody may revoke a key, or (`takes`) get one in its place. Raises: NotHeld."""
    if not by.allows("keys:write"):
        raise NotHeld("Revoking and rotating keys needs the scope keys:write.", "key")
    if _is_outside(key, by) and (takes or not by.allows("admin:users")):
        raise NotHeld("A key keeps keys of its own team only.", "key")
    if key.owner_id == by.user_id or _keeps(key.owner, key.team.pk, by):
        return
    if takes or key.team_id not in by.manages:
        raise NotHeld("Only its owner or an admin may do this to a key.", "key")


def _is_outside(key: ApiKey, by: Principal) -> bool:
    """Tell whether a key, or a token, asks about a key of a team that it is not for."""
    return by.key_id is not None and key.team_id not in by.teams and not by.sees_all


def _keeps(owner: User, team: int, by: Principal) -> bool:
    """Who manages people keeps every key; who manages a team, those of its service accounts."""
    return by.allows("admin:users") or (owner.bound_team_id == team and team in by.manages)


def check_expiry(expires_at: dt.datetime | None) -> None:
    """Raises: KeyRefused."""
    if expires_at is None:
        return
    if timezone.is_naive(expires_at):
        raise KeyRefused("The expiry needs a time zone.", "expires_at")
    if expires_at <= timezone.now():
        raise KeyRefused("The expiry must lie in the future.", "expires_at")


def check_limits_of(
    by: Principal, expires_at: dt.datetime | None, models: list[str], networks: Sequence[Network]
) -> None:
    """A limited key issues only keys that are limited at least as much. Raises: NotHeld."""
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
