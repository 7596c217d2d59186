"""What of a model is to be another: settings, tags, key, engine. Called by `operations`."""

import secrets
from typing import Any

import msgspec
from django.db import transaction

from inference import catalog, entries, model_settings, trail, vault
from inference.errors import Conflict, InvalidValue
from inference.models import Model


class Change(msgspec.Struct, kw_only=True):
    """What of a model is to be another; None leaves it."""

    settings: dict[str, Any] = {}
    tags: list[str] | None = None
    api_key: str | None = None
    engine: str | None = None  # another one that serves the same files


def change(row: Model, wanted: Change) -> Model:
    """Set what the next request is served with. Raises: UnknownParameter, InvalidValue, Conflict."""
    patch = wanted.settings
    with transaction.atomic():
        row = Model.objects.select_for_update(of=("self",)).get(pk=row.pk)
        before = trail.of_model(row)
        if patch and row.is_attached:
            raise InvalidValue(
                f"`{row.name}` is served by its base `{row.served_as}`: change that one, or add the"
                " adapter again with settings, for a copy of its own"
            )
        if wanted.engine is not None and wanted.engine != row.engine:
            _change_engine(row, wanted.engine)
        row.settings = model_settings.changed(row.settings, patch, row.engine)
        model_settings.check_context(row.settings, row.context_tokens)
        row.tags = row.tags if wanted.tags is None else wanted.tags
        if wanted.api_key is not None:
            _renew_key(row, wanted.api_key)
        row.save(update_fields=["engine", "settings", "tags", "sha256", "updated_at"])
        catalog.invalidate()
        trail.model("change", row, before=before, after=trail.of_model(row))
    return row


def _change_engine(row: Model, engine: str) -> None:
    """Raises: InvalidValue, Conflict."""
    if row.source == "starter":
        raise Conflict(f"`{row.name}` is a starter model: add a variant of it for another engine")
    if row.adapters.exists():
        raise Conflict(f"adapters are attached to `{row.name}`: add a variant for another engine")
    for field, value in entries.other_engine(row, engine).items():
        setattr(row, field, value)


def _renew_key(row: Model, api_key: str) -> None:
    """Another digest is another version: what is loaded with the old key is replaced."""
    if row.source != "remote":
        raise InvalidValue("only a remote model has a key", param="api_key")
    vault.put(vault.of_model(row.name), api_key)
    row.sha256 = secrets.token_hex(32)
