"""Models enter the catalog, change and leave it. Called by the management API and the dashboard.

A row comes first and says what is wanted; `arrivals` brings the files and makes it available.
"""

import re
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import Visibility
from inference import (
    catalog,
    inspection,
    model_settings,
    owners,
    places,
    reading,
    starters,
    trail,
    vault,
)
from inference.errors import Conflict, InvalidValue, MissingParameter, ModelNotFound
from inference.models import ARRIVING, Alias, Model
from inference.safe_address import check_upstream

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*")
ACTIONS = frozenset(
    {"load", "unload", "plan", "cancel", "add", "verify", "search", "upstream"}
)  # last parts of addresses under /models
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")
REMOTE_KINDS = ("llm", "embed", "vlm", "asr")
# Engines that serve the same files: safetensors of a language model.
ENGINES = {"llm_transformers": ("llm_vllm",), "llm_vllm": ("llm_transformers",)}
NO_VLLM = (
    "llm_vllm is not set up on this hub: name the Python of an environment that holds vLLM in"
    " AI_HUB_VLLM_PYTHON, and start the hub again"
)
RESTARTABLE = frozenset({Model.State.FAILED, Model.State.CANCELLED})


class Wanted(msgspec.Struct, kw_only=True):
    """A request to add a model; which fields count depends on `source`."""

    source: str
    name: str
    model_id: str = ""
    revision: str = "main"
    files: list[str] = []  # patterns of what to take from a hub
    path: str = ""
    copy: bool = False  # false: the files are used where they are
    base: str = ""
    of: str = ""
    engine: str = ""  # of a variant: another one that serves the same files
    base_url: str = ""
    upstream_model: str = ""
    api_key: str = ""
    kind: str = "llm"
    tags: list[str] = []
    settings: dict[str, Any] = {}
    team_id: int = 0  # who owns it; 0: the default team
    visibility: str = Visibility.HUB


# --- adding ---------------------------------------------------------------------------------------


def add(wanted: Wanted) -> Model:
    """Make the row of a new model, or start a failed one again.

    Raises: InvalidValue, MissingParameter, UnsafeModel, Conflict.
    """
    check_name(wanted.name)
    fields = SOURCES[wanted.source](wanted)
    engine = fields.get("engine", "")
    if wanted.settings and engine:
        fields["settings"] = model_settings.changed(
            fields.get("settings", {}), wanted.settings, engine
        )
        model_settings.check_context(fields["settings"], fields.get("context_tokens", 0))
    else:  # checked again once the engine is known; of one that failed, those of before are gone
        fields.setdefault("settings", wanted.settings)
    with transaction.atomic():
        if wanted.team_id:
            fields |= {"team_id": wanted.team_id, "visibility": str(wanted.visibility)}
        row = create(wanted.name, source=wanted.source, tags=wanted.tags, **fields)
        if wanted.source == "remote":
            vault.put(vault.of_model(row.name), wanted.api_key)
    return row


def create(name: str, *, source: str, **fields: Any) -> Model:
    """Insert the row, or start a failed one of the same source again. Raises: Conflict."""
    fields["source"] = source
    if "team_id" not in fields and (origin := fields.get("base") or fields.get("variant_of")):
        fields |= {"team_id": origin.team_id, "visibility": origin.visibility}
    try:
        with transaction.atomic():
            row = _again(name, fields) or Model.objects.create(name=name, **fields)
            owners.check(row)
            catalog.invalidate()
            trail.added(row)
    except IntegrityError:
        raise Conflict(f"there is a model named `{name}` already", param="name") from None
    return row


def _again(name: str, fields: dict[str, Any]) -> Model | None:
    """What was downloaded before stays where it is, and is taken up where it was cut."""
    same = Model.objects.select_for_update().filter(name=name, source=fields["source"])
    if "team_id" in fields:  # another team's is not taken over
        same = same.filter(team_id=fields["team_id"])
    row = same.filter(state__in=RESTARTABLE).first()
    if row is None:
        return None
    for field, value in {**fields, "state_reason": "", "done_bytes": 0}.items():
        setattr(row, field, value)
    row.save()
    return row


def check_name(name: str) -> None:
    """Raises: InvalidValue, Conflict."""
    if not NAME.fullmatch(name) or len(name) > 128:
        raise InvalidValue(
            "a name has 1 to 128 letters, digits and . _ : @ + - with / between parts", param="name"
        )
    if ACTIONS & set(name.split("/")[-1:]):
        raise InvalidValue(
            f"a name cannot end with {name.rsplit('/', maxsplit=1)[-1]!r}", param="name"
        )
    if Alias.objects.filter(name=name).exists():
        raise Conflict(f"`{name}` is an alias; choose another name", param="name")
    if starters.by_name(name):
        raise Conflict(f"`{name}` is the name of a starter model", param="name")


def _local(wanted: Wanted) -> dict[str, Any]:
    path = places.allowed(_given(wanted.path, "path"))
    report = inspection.at_a_glance(path)  # refuse at once what can be seen at once
    if report.kind == "adapter":
        raise InvalidValue("this is an adapter; add it with source `adapter`", param="source")
    if wanted.copy:
        places.check_disk(report.size_bytes)
    return {
        "origin": str(path),
        "path": str(path),
        "kind": report.kind,
        "engine": report.engine,
        "size_bytes": report.size_bytes,
        "owns_files": wanted.copy,
        "state": Model.State.QUEUED,
    }


def _huggingface(wanted: Wanted) -> dict[str, Any]:
    if not HUB_ID.fullmatch(_given(wanted.model_id, "model_id")) or ".." in wanted.model_id:
        raise InvalidValue("a model_id looks like `organisation/model`", param="model_id")
    if not REVISION.fullmatch(wanted.revision) or ".." in wanted.revision:
        raise InvalidValue("a revision is a branch, a tag or a commit", param="revision")
    return {
        "base": base_of(wanted.base) if wanted.base else None,
        "origin": wanted.model_id,
        "revision": wanted.revision,
        "files": wanted.files,
        "kind": "",
        "engine": "",
        "path": "",
        "owns_files": True,
        "state": Model.State.QUEUED,
    }


def _adapter(wanted: Wanted) -> dict[str, Any]:
    base = base_of(_given(wanted.base, "base"))
    path = places.allowed(_given(wanted.path, "path"))
    if reading.inspect(path).kind != "adapter":
        raise InvalidValue("there is no adapter_config.json in this folder", param="path")
    return {
        "origin": str(path),
        "path": str(path),
        "base": base,
        "kind": base.kind,
        "engine": base.engine,
        "owns_files": True,
        "state": Model.State.QUEUED,
    }


def base_of(name: str) -> Model:
    """Raises: ModelNotFound, InvalidValue."""
    row = named(name, "base")
    if row.is_attached:
        raise InvalidValue(f"`{row.name}` is an adapter itself; name its base", param="base")
    if row.engine not in ENGINES:
        raise InvalidValue(
            f"`{row.name}` is served by {row.engine or 'nothing yet'}; an adapter needs a base of"
            f" safetensors files (engine {' or '.join(ENGINES)})",
            param="base",
        )
    return row


def _variant(wanted: Wanted) -> dict[str, Any]:
    """The same files with other settings: they stay where they are."""
    model = named(_given(wanted.of, "of"), "of")
    if model.state != Model.State.AVAILABLE:
        raise InvalidValue(f"`{model.name}` is {model.state}", param="of")
    if model.is_attached:
        raise InvalidValue(f"`{model.name}` is attached to its base; vary that", param="of")
    same = ("kind", "engine", "path", "licence", "parameters", "quantization", "size_bytes")
    more = ("sha256", "context_tokens", "report", "settings", "origin", "revision", "base")
    fields = {field: getattr(model, field) for field in (*same, *more)}
    return (
        fields
        | other_engine(model, wanted.engine)
        | {
            "variant_of": model.variant_of or model,
            "state": Model.State.AVAILABLE,
        }
    )


def other_engine(model: Model, engine: str) -> dict[str, Any]:
    """Options are one engine's own, so another one starts without. Raises: InvalidValue."""
    if not engine or engine == model.engine:
        return {}
    if engine not in ENGINES.get(model.engine, ()):
        offered = ", ".join(sorted({model.engine, *ENGINES.get(model.engine, ())}))
        raise InvalidValue(f"`{model.name}` can be served by {offered}", param="engine")
    if engine == "llm_vllm" and not settings.HUB_VLLM_PYTHON:
        raise InvalidValue(NO_VLLM, param="engine")
    kept = {name: value for name, value in model.settings.items() if name != "options"}
    return {"engine": engine, "settings": kept}


def _remote(wanted: Wanted) -> dict[str, Any]:
    address = check_upstream(_given(wanted.base_url, "base_url"), "base_url")
    if wanted.kind not in REMOTE_KINDS:
        raise InvalidValue(f"kind is one of {', '.join(REMOTE_KINDS)}", param="kind")
    return {
        "origin": address,
        "path": address,
        "kind": wanted.kind,
        "engine": "remote_openai",
        "settings": {
            "options": {"upstream_model": _given(wanted.upstream_model, "upstream_model")}
        },
        "state": Model.State.AVAILABLE,
    }


SOURCES = {
    "huggingface": _huggingface,
    "local": _local,
    "adapter": _adapter,
    "variant": _variant,
    "remote": _remote,
}


def register_adapter(name: str, base: str, path: str, **owner: Any) -> Model:
    """Make the row of an adapter that was trained here; its files stay the caller's.

    `owner` is a team_id with a visibility; without, the base's. It is served once `arrivals` has
    brought it. Raises: Conflict, InvalidValue, UnsafeModel.
    """
    check_name(name)
    model = base_of(base)
    if reading.inspect(Path(path)).kind != "adapter":
        raise InvalidValue("there is no adapter_config.json in this folder", param="path")
    fields: dict[str, Any] = {"base": model, "kind": model.kind, "engine": model.engine}
    fields |= {"origin": path, "path": path, "owns_files": True, "state": Model.State.QUEUED}
    return create(name, source="trained", **fields, **owner)


def register_model(name: str, base: str, path: str, **owner: Any) -> Model:
    """Make the row of a whole model that was trained here from `base`, as `register_adapter`.

    Raises: Conflict, InvalidValue, UnsafeModel.
    """
    check_name(name)
    model = base_of(base)
    if reading.inspect(Path(path)).kind != model.kind:
        raise InvalidValue(f"this folder holds no model like {base}", param="path")
    fields: dict[str, Any] = {"kind": model.kind, "engine": model.engine, "licence": model.licence}
    fields |= {"origin": path, "path": path, "owns_files": True, "state": Model.State.QUEUED}
    return create(name, source="trained", **fields, **owner)


def _given(value: str, param: str) -> str:
    if not value:
        raise MissingParameter(f"this source needs `{param}`", param=param)
    return value


def named(name: str, param: str) -> Model:
    row = Model.objects.filter(name=name).first()
    if row is None:
        raise ModelNotFound(f"there is no model `{name[:128]}`", param=param)
    return row


# --- trying again and leaving ---------------------------------------------------------------------------


def restart(row: Model) -> Model:
    """Queue an arrival that failed or was cancelled once more. Raises: Conflict."""
    rows = Model.objects.filter(pk=row.pk, state__in=RESTARTABLE)
    if row.source == "upload":  # without all of its parts it cannot be inspected
        rows = rows.filter(upload=None)
    fresh = {"state_reason": "", "done_bytes": 0, "bytes_per_s": 0.0}
    with transaction.atomic():
        if not rows.update(state=Model.State.QUEUED, **fresh):
            raise Conflict(f"`{row.name}` is {row.state}: there is nothing to try again")
        catalog.invalidate()
        trail.model("retry", row)
    row.refresh_from_db()
    return row


def cancel(row: Model) -> Model:
    """End an arrival; its worker sees it within a second. Raises: Conflict."""
    states = [*ARRIVING, Model.State.UPLOADING]
    ended = {"state": Model.State.CANCELLED, "state_reason": "cancelled", "bytes_per_s": 0.0}
    with transaction.atomic():
        if not Model.objects.filter(pk=row.pk, state__in=states).update(**ended):
            row.refresh_from_db()
            raise Conflict(f"`{row.name}` is {row.state}: there is nothing to cancel")
        catalog.invalidate()
        trail.model("cancel", row)
    row.refresh_from_db()
    return row


def remove(row: Model, *, force: bool = False) -> None:
    """Take a model out of the catalog, and its files where the hub brought them.

    Raises: Conflict while names, adapters or variants lead to it; `force` lets the names go.
    """
    if row.source == "starter":
        raise Conflict(f"`{row.name}` is a starter model: it would come back at the next start")
    folder = places.own_folder(row.name, row.pk)  # a deleted row has no number
    with transaction.atomic():
        users = [*row.adapters.values_list("name", flat=True)]
        users += row.variants.values_list("name", flat=True)
        if users:
            raise Conflict(
                f"`{row.name}` is used by {', '.join(sorted(users))}; remove those first"
            )
        _release_names(row, force=force)
        before = trail.of_model(row)
        row.delete()
        vault.put(vault.of_model(row.name), "")
        catalog.invalidate()
        trail.model("remove", row, before=before)
    if row.owns_files:
        places.remove_owned(folder)


def _release_names(row: Model, *, force: bool) -> None:
    names = [alias for alias in Alias.objects.all() if _leads_to(alias, row)]
    if names and not force:
        shown = ", ".join(alias.name for alias in names)
        raise Conflict(f"{shown} lead to `{row.name}`; point them elsewhere, or use force")
    for alias in names:
        left = [target for target in alias.targets if target["model"] != row.name]
        heir = Model.objects.filter(name=left[0]["model"]).first() if left else None
        before = trail.of_alias(alias)
        if heir is None:
            alias.delete()
            trail.alias("remove", alias, before=before)
            continue
        alias.target, alias.targets = heir, left
        alias.save()
        trail.alias("change", alias, before=before, after=trail.of_alias(alias))


def _leads_to(alias: Alias, row: Model) -> bool:
    return alias.target_id == row.pk or any(t["model"] == row.name for t in alias.targets)
