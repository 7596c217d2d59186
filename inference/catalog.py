"""Names become models: a snapshot of the rows in memory, so that a warm request makes no query.

Other processes' changes are seen within two seconds: `invalidate` writes a new token to Redis, and
each process compares it at most once a second, and before it says that a name cannot be served, so that
a new one is there at once. While Redis is away, the rows are read once a second instead.
"""

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NoReturn

import msgspec
from django.conf import settings
from django.db import close_old_connections, transaction

from accounts import connections
from accounts.models import Visibility
from accounts.principals import Principal
from inference import errors, routes, specs, wire
from inference.models import Alias, Model
from inference.routes import Route, Target

log = logging.getLogger(__name__)

VERSION_KEY = "hub:catalog:version"
CHECK_INTERVAL_S = 1.0
BROKEN: dict[str, str] = {
    Model.State.FAILED: "cannot be used",
    Model.State.CANCELLED: "was stopped before it was all here",
}
PREPARING_RETRY_S = 10.0
LONGEST_ALIAS_CHAIN = 8


Owner = tuple[int, str]  # team, visibility
EVERYBODY: Owner = (0, Visibility.HUB)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name that can be served: as asked, and the model behind it; others to ask if it fails."""

    spec: wire.ModelSpec
    name: str
    model: str
    created: int  # unix time, as OpenAI's lists have it
    base: str = ""  # where it is an adapter that was added to one
    others: tuple["Resolved", ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as the snapshot holds it; without a spec, `reason` says why."""

    spec: wire.ModelSpec | None
    created: int
    state: str
    reason: str
    base: str = ""
    owner: Owner = EVERYBODY


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All names at one moment."""

    version: str | None
    checked_s: float
    entries: dict[str, Entry]
    aliases: dict[str, Route]
    owners: dict[str, Owner]  # of aliases; a mapped name has none and is everybody's
    config: object  # what config/hub.json said then


# --- asking ---------------------------------------------------------------------------------------


async def resolve(name: str, who: Principal | None = None) -> Resolved:
    """Find the model behind a name or alias, among those that are there for somebody (None: all).

    Raises: ModelNotFound; Unavailable while it is being prepared; LoadFailed if that failed.
    """
    asked_s = time.monotonic()
    try:
        return _resolve(await _current(), name, who)
    except (errors.ModelNotFound, errors.Unavailable):
        return _resolve(await _current(asked_s), name, who)


async def route(name: str, who: Principal | None = None) -> Route | None:
    """Give the route that a name means, None where it only is a name of one model."""
    return _walk(await _current(), name, who)[1]


async def available(who: Principal | None = None) -> list[Resolved]:
    """List every name that can be served now, aliases too."""
    return _available(await _current(), who)


def resolve_now(name: str, who: Principal | None = None) -> Resolved:
    """Do as `resolve`, for code that is not asynchronous."""
    asked_s = time.monotonic()
    try:
        return _resolve(_store.current(), name, who)
    except (errors.ModelNotFound, errors.Unavailable):
        return _resolve(_store.current(asked_s), name, who)


async def is_there(name: str, model: str, who: Principal) -> bool:
    """Tell whether a name that was resolved still leads somebody to its model."""
    return _seen(await _current(), name, model, who)


def hidden(who: Principal) -> frozenset[str]:
    """Do as `hidden_now` with what was read last, without a wait."""
    snapshot = _store.last()
    return frozenset() if snapshot is None else _hidden(snapshot, who)


def hidden_now(who: Principal) -> frozenset[str]:
    """Give the names of models and aliases that are not there for somebody."""
    return _hidden(_store.current(), who)


def hidden_among(told: Collection[str], who: Principal) -> frozenset[str]:
    """Do as `hidden_now`, and hide what is told of models that are gone: theirs is not known."""
    snapshot = _store.current()
    if _sees_everything(who):
        return frozenset()
    known = snapshot.entries.keys() | snapshot.owners.keys()
    return _hidden(snapshot, who) | (frozenset(told) - known)


def _sees_everything(who: Principal) -> bool:
    return who.sees_all and not who.is_limited


def _hidden(snapshot: Snapshot, who: Principal) -> frozenset[str]:
    if _sees_everything(who):
        return frozenset()
    owners = {name: entry.owner for name, entry in snapshot.entries.items()} | snapshot.owners
    hidden = {name for name, owner in owners.items() if not who.sees(*owner)}
    if who.is_limited:  # a model may be reached by a name that is allowed
        reached = {one.model for one in _available(snapshot, who)}
        out = {name for name in snapshot.entries if not who.allows_model(name)}
        hidden |= out - reached
    return frozenset(hidden)


def every_name(who: Principal) -> set[str]:
    """Give the names of the models and aliases that are there for somebody, read now."""
    names = {*Model.objects.visible_to(who).values_list("name", flat=True)}
    return names | {
        *Alias.objects.visible_to(who).values_list("name", flat=True),
        *settings.HUB_CONFIG.model_mapping,
    }


def leads_to(name: str) -> list[str]:
    """Give what another name of models leads to, read now; nothing for a model's own name."""
    if Model.objects.filter(name=name).exists():
        return []
    if mapped := settings.HUB_CONFIG.model_mapping.get(name):
        return [mapped]
    alias = Alias.objects.select_related("target").filter(name=name).first()
    return [target.model for target in route_of(alias).targets] if alias else []


def available_now(who: Principal | None = None) -> list[Resolved]:
    return _available(_store.current(), who)


def _resolve(snapshot: Snapshot, name: str, who: Principal | None = None) -> Resolved:
    models = _follow(snapshot, name, who)
    models = [model for model in models if _seen(snapshot, name, model, who)]
    if not models:
        _unknown(name)
    first, *rest = models
    others = (_usable(snapshot, model, name) for model in rest)
    found = _usable(snapshot, first, name) or _refused(snapshot, first, name)
    return replace(found, others=tuple(other for other in others if other))


def _usable(snapshot: Snapshot, model: str, name: str) -> Resolved | None:
    entry = snapshot.entries.get(model)
    if entry is None or entry.spec is None or entry.state != Model.State.AVAILABLE:
        return None
    return Resolved(entry.spec, name, model, entry.created, entry.base)


def _refused(snapshot: Snapshot, model: str, name: str) -> NoReturn:
    """Raises: ModelNotFound, LoadFailed, Unavailable."""
    entry = snapshot.entries.get(model)
    if entry is None:
        _unknown(name)
    if entry.state in BROKEN:
        why = f" ({entry.reason.rstrip('.')})" if entry.reason else ""
        words = f"The model `{model}` {BROKEN[entry.state]}{why}: add it again, or remove it."
        raise errors.LoadFailed(words, param="model")
    raise errors.Unavailable(
        f"The model `{model}` is being prepared: {entry.reason or entry.state}.",
        param="model",
        retry_after_s=PREPARING_RETRY_S,
    )


def _unknown(name: str) -> NoReturn:
    """Say the same of a model that is not there and of one that the caller may not see."""
    raise errors.ModelNotFound(
        f"The model `{name}` does not exist or you do not have access to it.", param="model"
    )


def _seen(snapshot: Snapshot, name: str, model: str, who: Principal | None) -> bool:
    """Tell whether a model, asked for by this name, is there for somebody."""
    if who is None:
        return True
    entry = snapshot.entries.get(model)
    owner = entry.owner if entry is not None else EVERYBODY
    return who.sees(*owner) and who.allows_model(name, model)


def _follow(snapshot: Snapshot, name: str, who: Principal | None) -> list[str]:
    """Give the models that a name leads to, the one to ask first."""

    def can(model: str) -> bool:
        return _usable(snapshot, model, name) is not None

    model, found = _walk(snapshot, name, who)
    user = who.user_id if who is not None else None
    return routes.order(name, found, user, can) if found else [model]


def _walk(snapshot: Snapshot, name: str, who: Principal | None) -> tuple[str, Route | None]:
    """Follow aliases to a model or a route; a model's own name means that model."""
    for _ in range(LONGEST_ALIAS_CHAIN):
        found = None if name in snapshot.entries else snapshot.aliases.get(name)
        if who is not None and not who.sees(*snapshot.owners.get(name, EVERYBODY)):
            return name, None
        if found is None or not found.is_plain:
            return name, found
        name = found.targets[0].model
    return name, None


def _available(snapshot: Snapshot, who: Principal | None) -> list[Resolved]:
    names = dict.fromkeys([*snapshot.entries, *snapshot.aliases])
    usable = (_first_usable(snapshot, name, who) for name in names)
    return [resolved for resolved in usable if resolved]


def _first_usable(snapshot: Snapshot, name: str, who: Principal | None) -> Resolved | None:
    model, found = _walk(snapshot, name, who)
    models = [target.model for target in found.targets] if found else [model]
    models = [model for model in models if _seen(snapshot, name, model, who)]
    usable = (_usable(snapshot, model, name) for model in models)
    return next((resolved for resolved in usable if resolved), None)


# --- changing -------------------------------------------------------------------------------------


def invalidate() -> None:
    """Make every process read the rows again, once the transaction at hand is committed."""
    transaction.on_commit(_publish)


def _publish() -> None:
    _store.forget()
    try:
        with connections.in_thread() as client:
            client.set(VERSION_KEY, uuid.uuid4().hex)
    except connections.Away as error:
        log.warning("catalog change not published", extra={"reason": str(error)})


def mark_failed(name: str, reason: str) -> None:
    """Keep why a model cannot be served, for callers and operators."""
    Model.objects.filter(name=name).update(state=Model.State.FAILED, state_reason=reason)
    invalidate()


# --- the snapshot ---------------------------------------------------------------------------------


class _Store:
    """The newest snapshot of this process; `current` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None

    def fresh(self, since_s: float = 0.0) -> Snapshot | None:
        """Give the snapshot if it was compared recently enough, and since then; never waits.

        Without Redis there is nothing to compare: `since_s` is passed over.
        """
        snapshot = self._snapshot
        if snapshot is None or time.monotonic() - snapshot.checked_s >= CHECK_INTERVAL_S:
            return None
        is_since = snapshot.checked_s >= since_s or snapshot.version is None
        return snapshot if is_since else None

    def current(self, since_s: float = 0.0) -> Snapshot:
        """Compare with the other processes if it is time to, and read the rows if they changed."""
        with self._lock:
            if fresh := self.fresh(since_s):
                return fresh
            renewed = _renewed(self._snapshot)
            self._snapshot = renewed
            return renewed

    def last(self) -> Snapshot | None:
        return self._snapshot

    def forget(self) -> None:
        self._snapshot = None


_store = _Store()


async def _current(since_s: float = 0.0) -> Snapshot:
    if fresh := _store.fresh(since_s):
        return fresh
    return await asyncio.to_thread(_current_in_thread, since_s)


def _current_in_thread(since_s: float) -> Snapshot:
    try:
        return _store.current(since_s)
    finally:
        close_old_connections()


def _renewed(old: Snapshot | None) -> Snapshot:
    """Read the version first: a change that comes in between is read again a second later."""
    now_s, config = time.monotonic(), settings.HUB_CONFIG
    version = _shared_version()
    if old is not None and version is not None and (version, config) == (old.version, old.config):
        return replace(old, checked_s=now_s)
    rows = Model.objects.select_related("base").prefetch_related("adapters", "base__adapters")
    mapped = {name: Route((Target(model),)) for name, model in config.model_mapping.items()}
    names = [*Alias.objects.select_related("target")]
    return Snapshot(
        version=version,
        checked_s=now_s,
        entries={row.name: _entry(row) for row in rows},
        aliases={alias.name: route_of(alias) for alias in names} | mapped,
        owners={a.name: (a.team_id, a.visibility) for a in names if a.name not in mapped},
        config=config,
    )


def route_of(alias: Alias) -> Route:
    targets = [Target(**target) for target in alias.targets] or [Target(alias.target.name)]
    return Route(tuple(targets), alias.sticky, alias.defaults, alias.system_prompt)


def _shared_version() -> str | None:
    """Give the token that changes with the rows, or None while Redis is away."""
    found = None
    with contextlib.suppress(*connections.Away), connections.in_thread() as client:
        client.set(VERSION_KEY, uuid.uuid4().hex, nx=True)
        found = client.get(VERSION_KEY)
    return found.decode() if isinstance(found, bytes) else None


def _entry(row: Model) -> Entry:
    """A row that makes no spec must not take the other names away."""
    spec, state, reason = None, row.state, row.state_reason
    if row.base is not None and row.is_attached and row.base.state != Model.State.AVAILABLE:
        state, reason = row.base.state, f"its base {row.base.name}: {row.base.state_reason}"
    elif row.state == Model.State.AVAILABLE:
        try:
            spec = specs.of(row)
        except (msgspec.ValidationError, errors.Unavailable) as error:
            log.error("model without a spec", extra={"model": row.name, "reason": str(error)})
            state, reason = Model.State.FAILED, str(error)
    base = row.base.name if row.base is not None else ""
    return Entry(spec, int(row.created_at.timestamp()), state, reason, base, row.ownership)
