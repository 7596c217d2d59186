"""Refused permission, told to the audit log: by the doors and by whoever asks for a scope."""

from accounts import actors, notices
from accounts.authentication import Headers, Refused, shown_key
from accounts.authentication import require as _require
from accounts.principals import Principal


def at_the_door(error: Refused, headers: Headers, address: str | None, request_id: str) -> None:
    """Note a credential that was refused; one that was not shown is no refusal."""
    if error.kind == "missing":
        return
    key, who = shown_key(headers), actors.nobody(address, request_id)
    kind = "key" if key else "credential"
    notices.refused("credential.refuse", kind, key, error.kind, who)


def of_scope(who: Principal, scope: str) -> None:
    """Note a right that was asked for and is not held."""
    acting = actors.now()
    named = acting if acting.user_id == who.user_id else actors.of(who)
    notices.refused("permission.refuse", "scope", scope, who=named)


def require(who: Principal, scope: str) -> None:
    """Raises: Refused, where the scope is not held."""
    try:
        _require(who, scope)
    except Refused:
        of_scope(who, scope)
        raise
