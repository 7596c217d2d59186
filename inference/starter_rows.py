"""The rows and aliases of the starter models, made at each start. Called by `prepare` and the worker."""

import hashlib
from pathlib import Path

from django.conf import settings
from django.db import transaction

from inference import catalog, starters, trail
from inference.models import Alias, Model


def ensure() -> list[Model]:
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
        catalog.invalidate()
    return [row for row in rows if row.state == Model.State.PREPARING]


def _ensure_row(starter: starters.Starter, root: Path) -> Model:
    state, reason = _starter_state(starter, root)
    row, is_new = Model.objects.update_or_create(
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
    if is_new:
        trail.added(row)
    return row


def _starter_state(starter: starters.Starter, root: Path) -> tuple[str, str]:
    if starter.is_present(root):
        return Model.State.AVAILABLE, ""
    if starter.converted_from:
        return Model.State.PREPARING, f"it is converted from {starter.converted_from}"
    return Model.State.FAILED, "its files are missing; run `python3 manage.py fetch_models`"


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
    if created:
        trail.alias("create", alias, after=trail.of_alias(alias))
    if created or alias.targets or alias.target_id == target.pk:
        return
    if alias.target.source == "starter":
        before = trail.of_alias(alias)
        alias.target = target
        alias.save(update_fields=["target"])
        trail.alias("change", alias, before=before, after=trail.of_alias(alias))
