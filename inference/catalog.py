"""Names become models: a snapshot of the rows in memory, so that a warm request makes no query.

Other processes' changes are seen within two seconds: `invalidate` writes a new token to Redis, and
each process compares it at most once a second. While Redis is away, the rows are read instead.
"""

import asyncio
import hashlib
import logging
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import close_old_connections, transaction

from accounts import connections
from inference import errors, starters, wire
from inference.models import Alias, Model

log = logging.getLogger(__name__)

VERSION_KEY = "hub:catalog:version"
CHECK_INTERVAL_S = 1.0
PREPARING_RETRY_S = 10.0
LONGEST_ALIAS_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name that can be served: as asked, and the model behind it."""

    spec: wire.ModelSpec
    name: str
    model: str
    created: int  # unix time, as OpenAI's lists have it


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as the snapshot holds it; `error` says why it cannot be served now."""

    spec: wire.ModelSpec
    created: int
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All names at one moment."""

    version: str | None
    checked_s: float
    entries: dict[str, Entry]
    aliases: dict[str, str]


# --- asking ---------------------------------------------------------------------------------------


async def resolve(name: str) -> Resolved:
    """Find the model behind a name or alias.

    Raises: ModelNotFound; Unavailable while it is being prepared; LoadFailed if that failed.
    """
    return _resolve(await _current(), name)


async def available() -> list[Resolved]:
    """List every name that can be served now, aliases too."""
    return _available(await _current())


def resolve_now(name: str) -> Resolved:
    """Do as `resolve`, for code that is not asynchronous."""
    return _resolve(_store.current(), name)


def available_now() -> list[Resolved]:
    return _available(_store.current())


def _resolve(snapshot: Snapshot, name: str) -> Resolved:
    model = _follow(snapshot, name)
    entry = snapshot.entries.get(model)
    if entry is None:
        raise errors.ModelNotFound(
            f"The model `{name}` does not exist or you do not have access to it.", param="model"
        )
    if entry.state == Model.State.PREPARING:
        raise errors.Unavailable(
            f"The model `{model}` is being prepared: {entry.reason or 'try again soon'}.",
            param="model",
            retry_after_s=PREPARING_RETRY_S,
        )
    if entry.state == Model.State.FAILED:
        raise errors.LoadFailed(
            f"The model `{model}` could not be prepared: {entry.reason}", param="model"
        )
    return Resolved(spec=entry.spec, name=name, model=model, created=entry.created)


def _follow(snapshot: Snapshot, name: str) -> str:
    """Walk the aliases; a name of a model always means that model."""
    for _ in range(LONGEST_ALIAS_CHAIN):
        if name in snapshot.entries or name not in snapshot.aliases:
            break
        name = snapshot.aliases[name]
    return name


def _available(snapshot: Snapshot) -> list[Resolved]:
    found = []
    for name in [*snapshot.entries, *snapshot.aliases]:
        entry = snapshot.entries.get(model := _follow(snapshot, name))
        if entry is not None and entry.state == Model.State.AVAILABLE:
            found.append(Resolved(spec=entry.spec, name=name, model=model, created=entry.created))
    return list({resolved.name: resolved for resolved in found}.values())


# --- changing -------------------------------------------------------------------------------------


def invalidate() -> None:
    """Make every process read the rows again, once the transaction at hand is committed."""
    transaction.on_commit(_publish)


def _publish() -> None:
    _store.forget()
    try:
        connections.blocking().set(VERSION_KEY, uuid.uuid4().hex)
    except connections.Away as error:
        log.warning("catalog change not published", extra={"reason": str(error)})


def ensure_starters() -> list[Model]:
    """Register the starter models and aliases that are not there yet; give those to convert.

    An alias that an operator pointed elsewhere stays as it is.
    """
    root = settings.HUB_MODELS
    with transaction.atomic():
        chosen = starters.chosen(settings.HUB_MODEL_SIZE)
        rows = [_ensure_row(starter, root) for starter in chosen if starter.is_model]
        by_name = {row.name: row for row in rows}
        for alias, target in starters.aliases(settings.HUB_MODEL_SIZE).items():
            _ensure_alias(alias, by_name[target])
        invalidate()
    return [row for row in rows if row.state == Model.State.PREPARING]


def mark_failed(name: str, reason: str) -> None:
    """Keep why a model cannot be served, for callers and operators."""
    Model.objects.filter(name=name).update(state=Model.State.FAILED, state_reason=reason)
    invalidate()


def _ensure_row(starter: starters.Starter, root: Path) -> Model:
    state, reason = _starter_state(starter, root)
    row, _ = Model.objects.update_or_create(
        name=starter.name,
        defaults={
            "kind": starter.kind,
            "engine": starter.engine,
            "path": str(starter.path(root)),
            "source": "starter",
            "state": state,
            "state_reason": reason,
            "licence": starter.licence,
            "parameters": starter.parameters,
            "quantization": starter.quantization,
            "size_bytes": starter.size_bytes or _folder_bytes(starter.folder(root)),
            "sha256": _digest(starter),
            "context_tokens": starter.context_tokens,
        },
    )
    return row


def _starter_state(starter: starters.Starter, root: Path) -> tuple[str, str]:
    if starter.is_present(root):
        return Model.State.AVAILABLE, ""
    if starter.converted_from:
        return Model.State.PREPARING, f"it is converted from {starter.converted_from}"
    return Model.State.FAILED, "its files are missing; run `manage.py fetch_models`"


def _digest(starter: starters.Starter) -> str:
    if starter.converted_from:
        source = starters.by_name(starter.converted_from)
        return _digest(source) if source else ""
    return hashlib.sha256("".join(file.sha256 for file in starter.files).encode()).hexdigest()


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _ensure_alias(name: str, target: Model) -> None:
    """Point a starter's alias at a larger starter, but leave an operator's choice alone."""
    alias, created = Alias.objects.get_or_create(name=name, defaults={"target": target})
    if not created and alias.target_id != target.pk and alias.target.source == "starter":
        alias.target = target
        alias.save(update_fields=["target"])


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
    rows = Model.objects.all()
    aliases = dict(Alias.objects.values_list("name", "target__name"))
    return Snapshot(
        version=version,
        checked_s=now_s,
        entries={row.name: _entry(row) for row in rows},
        aliases=aliases | settings.HUB_CONFIG.model_mapping,
    )


def _shared_version() -> str | None:
    """Give the token that changes with the rows, or None while Redis is away."""
    try:
        client = connections.blocking()
        client.set(VERSION_KEY, uuid.uuid4().hex, nx=True)
        found = client.get(VERSION_KEY)
    except connections.Away:
        return None
    return found.decode() if isinstance(found, bytes) else None


def _entry(row: Model) -> Entry:
    return Entry(
        spec=spec_of(row),
        created=int(row.created_at.timestamp()),
        state=row.state,
        reason=row.state_reason,
    )


def spec_of(row: Model) -> wire.ModelSpec:
    """Build the spec that travels to the node; `settings` may hold any of its other fields."""
    extra: dict[str, Any] = {"priority": _priority(row.name), **row.settings}
    fixed = {
        "name": row.name,
        "kind": row.kind,
        "engine": row.engine,
        "path": row.path,
        "version": _version(row),
        "memory_bytes": row.measured_bytes,
    }
    if row.context_tokens:
        extra.setdefault("context_tokens", row.context_tokens)
    return msgspec.convert(extra | fixed, wire.ModelSpec)


def _version(row: Model) -> str:
    """Change when files or settings change, and only then."""
    parts = (row.engine, row.path, row.sha256, str(row.context_tokens), row.settings)
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:12]


def _priority(name: str) -> int:
    """Give models named first in `priority_models` the highest priority."""
    names = settings.HUB_CONFIG.model_config.priority_models
    return len(names) - names.index(name) if name in names else 0
