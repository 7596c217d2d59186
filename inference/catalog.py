"""Names become models: a snapshot of the rows in memory, so that a warm request makes no query.

Other processes' changes are seen within two seconds: `invalidate` writes a new token to Redis, and
each process compares it at most once a second. While Redis is away, the rows are read instead.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import msgspec
from django.conf import settings
from django.db import close_old_connections, transaction

from accounts import connections
from inference import errors, model_settings, routes, vault, wire
from inference.models import Alias, Model
from inference.routes import Route, Target

log = logging.getLogger(__name__)

VERSION_KEY = "hub:catalog:version"
CHECK_INTERVAL_S = 1.0
PREPARING_RETRY_S = 10.0
LONGEST_ALIAS_CHAIN = 8
PLANNED_ADAPTERS = 8
PARAMETER_BYTES = 8  # about the most: float32, and zeros in fused projections


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All names at one moment."""

    version: str | None
    checked_s: float
    entries: dict[str, Entry]
    aliases: dict[str, Route]


# --- asking ---------------------------------------------------------------------------------------


async def resolve(
    name: str, *, user: int | None = None, allowed: frozenset[str] | None = None
) -> Resolved:
    """Find the model behind a name or alias; a route chooses among those that are `allowed`.

    Raises: ModelNotFound; Unavailable while it is being prepared; LoadFailed if that failed.
    """
    return _resolve(await _current(), name, user, allowed)


async def route(name: str) -> Route | None:
    """Give the route that a name means, None where it only is a name of one model."""
    return _walk(await _current(), name)[1]


async def available() -> list[Resolved]:
    """List every name that can be served now, aliases too."""
    return _available(await _current())


def resolve_now(name: str) -> Resolved:
    """Do as `resolve`, for code that is not asynchronous."""
    return _resolve(_store.current(), name)


def every_name() -> set[str]:
    """Give the names of all models and aliases, read from the database now."""
    names = {*Model.objects.values_list("name", flat=True)}
    return names | {
        *Alias.objects.values_list("name", flat=True),
        *settings.HUB_CONFIG.model_mapping,
    }


def available_now() -> list[Resolved]:
    return _available(_store.current())


def _resolve(
    snapshot: Snapshot,
    name: str,
    user: int | None = None,
    allowed: frozenset[str] | None = None,
) -> Resolved:
    models = _follow(snapshot, name, user)
    if allowed is not None and name not in allowed:
        models = [model for model in models if model in allowed] or models
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
        raise errors.ModelNotFound(
            f"The model `{name}` does not exist or you do not have access to it.", param="model"
        )
    if entry.state in {Model.State.FAILED, Model.State.CANCELLED}:
        raise errors.LoadFailed(
            f"The model `{model}` could not be prepared: {entry.reason}", param="model"
        )
    raise errors.Unavailable(
        f"The model `{model}` is being prepared: {entry.reason or entry.state}.",
        param="model",
        retry_after_s=PREPARING_RETRY_S,
    )


def _follow(snapshot: Snapshot, name: str, user: int | None) -> list[str]:
    """Give the models that a name leads to, the one to ask first."""

    def can(model: str) -> bool:
        return _usable(snapshot, model, name) is not None

    model, found = _walk(snapshot, name)
    return routes.order(name, found, user, can) if found else [model]


def _walk(snapshot: Snapshot, name: str) -> tuple[str, Route | None]:
    """Follow aliases to a model or a route; a model's own name means that model."""
    for _ in range(LONGEST_ALIAS_CHAIN):
        found = None if name in snapshot.entries else snapshot.aliases.get(name)
        if found is None or not found.is_plain:
            return name, found
        name = found.targets[0].model
    return name, None


def _available(snapshot: Snapshot) -> list[Resolved]:
    names = dict.fromkeys([*snapshot.entries, *snapshot.aliases])
    usable = (_first_usable(snapshot, name) for name in names)
    return [resolved for resolved in usable if resolved]


def _first_usable(snapshot: Snapshot, name: str) -> Resolved | None:
    model, found = _walk(snapshot, name)
    models = [target.model for target in found.targets] if found else [model]
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

    def fresh(self) -> Snapshot | None:
        """Give the snapshot if it was compared recently enough; never waits."""
        snapshot = self._snapshot
        if snapshot and time.monotonic() - snapshot.checked_s < CHECK_INTERVAL_S:
            return snapshot
        return None

    def current(self) -> Snapshot:
        """Compare with the other processes if it is time to, and read the rows if they changed."""
        with self._lock:
            if fresh := self.fresh():
                return fresh
            renewed = _renewed(self._snapshot)
            self._snapshot = renewed
            return renewed

    def forget(self) -> None:
        self._snapshot = None


_store = _Store()


async def _current() -> Snapshot:
    if fresh := _store.fresh():
        return fresh
    return await asyncio.to_thread(_current_in_thread)


def _current_in_thread() -> Snapshot:
    try:
        return _store.current()
    finally:
        close_old_connections()


def _renewed(old: Snapshot | None) -> Snapshot:
    """Read the version first: a change that comes in between is read again a second later."""
    now_s = time.monotonic()
    version = _shared_version()
    if old is not None and version is not None and version == old.version:
        return Snapshot(version, now_s, old.entries, old.aliases)
    rows = Model.objects.select_related("base").prefetch_related("adapters", "base__adapters")
    mapped = {
        name: Route((Target(model),)) for name, model in settings.HUB_CONFIG.model_mapping.items()
    }
    return Snapshot(
        version=version,
        checked_s=now_s,
        entries={row.name: _entry(row) for row in rows},
        aliases={a.name: route_of(a) for a in Alias.objects.select_related("target")} | mapped,
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
            spec = spec_of(row)
        except (msgspec.ValidationError, errors.Unavailable) as error:
            log.error("model without a spec", extra={"model": row.name, "reason": str(error)})
            state, reason = Model.State.FAILED, str(error)
    base = row.base.name if row.base is not None else ""
    return Entry(spec, int(row.created_at.timestamp()), state, reason, base)


def spec_of(row: Model) -> wire.ModelSpec:
    """Build the spec that travels to the node; `settings` may hold any of its other fields."""
    if row.base is not None and row.is_attached:
        adapter = wire.Adapter(name=row.name, path=row.path, version=row.sha256[:12])
        return msgspec.structs.replace(spec_of(row.base), adapter=adapter)
    extra: dict[str, Any] = {"priority": _priority(row.name), **row.settings}
    fixed = {
        "name": row.name,
        "kind": row.kind,
        "engine": row.engine,
        "path": row.path,
        "version": _version(row),
        "memory_bytes": row.measured_bytes,
        "adapters_bytes": _adapters_bytes(row),
    }
    if row.source == "remote":
        extra["options"] = _upstream(row)
    if row.context_tokens:
        extra.setdefault("context_tokens", row.context_tokens)
    return msgspec.convert(extra | fixed, wire.ModelSpec)


def _adapters_bytes(row: Model) -> int:
    """Plan for the largest of them together; of more, the least recently used leave."""
    sizes = sorted((a.parameters or 0 for a in row.adapters.all() if a.is_attached), reverse=True)
    return sum(sizes[:PLANNED_ADAPTERS]) * PARAMETER_BYTES


def _upstream(row: Model) -> dict[str, Any]:
    """What the engine of a remote model needs; the key is decrypted into memory only."""
    options = {**row.settings.get("options", {}), "base_url": row.path, "kind": row.kind}
    options["private_upstream"] = settings.HUB_PRIVATE_UPSTREAMS
    key = vault.get(vault.of_model(row.name))
    return options | ({"api_key": key} if key else {})


def _version(row: Model) -> str:
    """Change when files or settings change, and only then."""
    loaded_with = model_settings.hard(row.settings)
    parts = (row.engine, row.path, row.sha256, str(row.context_tokens), loaded_with)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:12]


def _priority(name: str) -> int:
    """Give models named first in `priority_models` the highest priority."""
    names = settings.HUB_CONFIG.model_config.priority_models
    return len(names) - names.index(name) if name in names else 0
