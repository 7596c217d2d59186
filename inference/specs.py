"""A model's row as the spec that travels to the node. Called by `catalog`, and by who has a row at hand."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from inference import model_settings, vault, wire
from inference.models import Model

PLANNED_ADAPTERS = 8
PARAMETER_BYTES = 8  # about the most: float32, and zeros in fused projections


def of(row: Model) -> wire.ModelSpec:
    """Build it; `settings` may hold any of its other fields. Raises: ValidationError, Unavailable."""
    if row.base is not None and row.is_attached:
        adapter = wire.Adapter(name=row.name, path=row.path, version=row.sha256[:12])
        return msgspec.structs.replace(of(row.base), adapter=adapter)
    extra: dict[str, Any] = {**row.settings}
    fixed = {
        "name": row.name,
        "kind": row.kind,
        "engine": row.engine,
        "path": row.path,
        "version": _version(row),
        "memory_bytes": row.measured_bytes,
        "adapters_bytes": _adapters_bytes(row),
        "whole_context": bool(row.settings.get("context_tokens")),
    }
    if row.source == "remote":
        extra["options"] = _upstream(row)
    if projector := row.report.get("projector"):
        fixed["projector"] = str(Path(row.path).with_name(str(projector)))
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
