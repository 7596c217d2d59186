"""What a key or a person may do, in words, and which role holds which scope. Pure."""

from collections.abc import Iterable

SCOPES: dict[str, str] = {
    "models:read": "List models and see their state",
    "status:read": "Watch devices, queues and running requests",
    "inference": "Use models: chat, completions, embeddings, audio",
    "keys:manage": "List, issue and revoke own API keys",
    "training": "Bring data, train models and follow jobs",
    "models:load": "Load and unload models",
    "models:write": "Add, change and remove models and their names",
    "models:manage": "Add, load, unload and remove models",
    "users:manage": "Manage people and the keys of everyone",
    "system:manage": "Change the hub's settings, see its logs and backups",
}
# What the form for a new key offers, the usual first. The rest administers the hub, opens nothing yet,
# or says the same twice; the command and the API give it to whoever holds it.
OFFERED = (
    "inference",
    "models:read",
    "status:read",
    "models:load",
    "models:write",
    "keys:manage",
)
DEFAULT = ("models:read", "inference")  # of a new key, as far as its issuer holds them

_VIEWER = frozenset({"models:read", "status:read"})
_DEVELOPER = _VIEWER | {"inference", "keys:manage"}
_TRAINER = _DEVELOPER | {"training"}
_OPERATOR = _TRAINER | {"models:load", "models:write", "models:manage"}
ROLES: dict[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "developer": _DEVELOPER,
    "trainer": _TRAINER,
    "operator": _OPERATOR,
    "admin": frozenset(SCOPES),
}

# Whoever holds the wide scope holds the narrow ones: keys from before they were told apart.
WITHIN: dict[str, str] = {"models:load": "models:manage", "models:write": "models:manage"}


def of_role(role: str) -> frozenset[str]:
    """Return the scopes of a role; an unknown role holds none."""
    return ROLES.get(role, frozenset())


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that are no scope, sorted."""
    return sorted(set(names) - SCOPES.keys())
