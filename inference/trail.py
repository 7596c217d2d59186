"""What the audit log keeps of models and names: called by the verbs, inside their transactions."""

from collections.abc import Mapping
from typing import Any

from accounts import audit
from inference.models import Alias, Model

Values = Mapping[str, Any]


def model(action: str, row: Model, **more: Any) -> None:
    """Record a verb on a model; `more` is `before`, `after` or `outcome`."""
    audit.record(f"model.{action}", "model", row.name, pk=row.pk or "", **more)


def added(row: Model) -> None:
    """A failed one that is tried again has its row already, and comes here, too."""
    model("add", row, after=of_model(row))


def of_model(row: Model) -> dict[str, Any]:
    """Give what people decide of a model, and where it comes from."""
    fields = ("source", "origin", "revision", "kind", "engine", "tags")
    plain = {field: getattr(row, field) for field in fields}
    base = row.base.name if row.base is not None else None
    return plain | {"base": base, "settings": dict(row.settings)}


def alias(action: str, row: Alias, **more: Any) -> None:
    """Record a verb on a name."""
    audit.record(f"alias.{action}", "alias", row.name, pk=row.pk or "", **more)


def of_alias(row: Alias) -> dict[str, Any]:
    """Give where a name leads, and what it adds."""
    fields = ("sticky", "defaults", "system_prompt")
    targets = row.targets or [{"model": row.target.name, "weight": 1.0}]
    return {"targets": targets} | {field: getattr(row, field) for field in fields}
