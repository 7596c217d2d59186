"""What a key or a person may do, in words, and which role holds which scope. Pure."""

from collections.abc import Iterable

SCOPES: dict[str, str] = {
    "models:read": "List models and see their state",
    "status:read": "Watch devices, queues and running requests",
    "usage:read": "See own usage",
    "teams:read": "See own teams and who is in them",
    "inference:chat": "Use models: chat",
    "inference:completions": "Use models: completions",
    "inference:embeddings": "Use models: embeddings",
    "inference:classify": "Use models: classification",
    "inference:audio": "Use models: speech to text",
    "files:read": "See files and batches",
    "files:write": "Upload and remove files, start batches",
    "keys:read": "See own API keys",
    "keys:write": "Issue, rotate and revoke own API keys",
    "teams:write": "Manage members, roles and service accounts of teams that one manages",
    "datasets:read": "See data sets",
    "datasets:write": "Bring, change and remove data sets",
    "training:read": "Follow training jobs and evaluations",
    "training:write": "Train models, stop jobs, publish results",
    "models:load": "Load and unload models",
    "models:write": "Add, change and remove models and their names",
    "usage:all": "See everybody's usage",
    "admin:users": "Manage people, service accounts and the keys of everyone",
    "admin:roles": "Make and change roles",
    "admin:teams": "Manage teams, and see what belongs to any of them",
    "admin:audit": "Read the audit log",
    "admin:system": "Change the hub's settings, see its logs and backups",
}
# Names that hold several: `inference:*`, and those that keys had before scopes were told apart.
ROOMS = sorted({scope.partition(":")[0] for scope in SCOPES})
_FORMER: dict[str, tuple[str, ...]] = {
    "inference": ("inference:",),
    "keys:manage": ("keys:",),
    "training": ("training:", "datasets:", "files:"),
    "models:manage": ("models:load", "models:write"),
    "users:manage": ("admin:users", "admin:roles", "admin:teams"),
    "system:manage": ("admin:system", "admin:audit"),
}
WIDE: dict[str, frozenset[str]] = {
    name: frozenset(scope for scope in SCOPES if scope.startswith(starts))
    for name, starts in ({f"{room}:*": (f"{room}:",) for room in ROOMS} | _FORMER).items()
}
# What the form for a new key offers, the usual first. The rest administers the hub: the command and
# the API give it to whoever holds it.
OFFERED = tuple(scope for scope in SCOPES if not scope.startswith("admin:"))
DEFAULT = ("models:read", "inference")  # of a new key, as far as its issuer holds them
ADMIN = frozenset(scope for scope in SCOPES if scope.startswith("admin:"))  # never a team's matter

_VIEWER = frozenset({"models:read", "status:read", "usage:read", "teams:read"})
_DEVELOPER = _VIEWER | WIDE["inference"] | WIDE["keys:*"] | WIDE["files:*"] | WIDE["teams:*"]
_TRAINER = _DEVELOPER | WIDE["training"]
_OPERATOR = _TRAINER | WIDE["models:manage"] | {"usage:all"}
ROLES: dict[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "developer": _DEVELOPER,
    "trainer": _TRAINER,
    "operator": _OPERATOR,
    "admin": frozenset(SCOPES),
}


def expand(names: Iterable[str]) -> frozenset[str]:
    """Return the narrow scopes that these names mean; an unknown name means none."""
    found: set[str] = set()
    for name in names:
        found |= WIDE.get(name, frozenset({name} & SCOPES.keys()))
    return frozenset(found)


def held(name: str, scopes: frozenset[str]) -> bool:
    """Tell whether narrow `scopes` hold this name, all of it where it is a wide one."""
    if name in scopes:
        return True
    meant = WIDE.get(name)
    return meant is not None and meant <= scopes


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that are no scope, sorted."""
    return sorted(set(names) - SCOPES.keys() - WIDE.keys())
