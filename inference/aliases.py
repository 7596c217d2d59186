"""Names and routes: set, roll back, remove. Called by the management API and the dashboard.

Every process answers by the new route within two seconds, without a restart.
"""

from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from inference import catalog, entries, owners, trail
from inference.errors import (
    Conflict,
    HubError,
    InvalidValue,
    MissingParameter,
    ModelNotFound,
    UnknownParameter,
)
from inference.models import Alias, Model
from inference.openai import chat, embeddings

MAX_TARGETS = 16
MAX_WEIGHT = 1_000_000.0
MAX_PROMPT_CHARS = 32_768
TEXT_DEFAULTS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "max_tokens", "presence_penalty",
        "frequency_penalty", "repetition_penalty", "seed", "stop",
    }
)  # fmt: skip
DEFAULTS: dict[str, frozenset[str]] = {
    "llm": TEXT_DEFAULTS,
    "vlm": TEXT_DEFAULTS,
    "embed": frozenset({"dimensions"}),
}


class Wanted(msgspec.Struct, kw_only=True):
    """What may be said of a route; None leaves it as it is."""

    targets: list[dict[str, Any]] | None = None  # {"model", "weight"}
    sticky: bool | None = None
    defaults: dict[str, Any] | None = None
    system_prompt: str | None = None


def create(name: str, wanted: Wanted, **owner: Any) -> Alias:
    """Make a name; `owner` is `owners.Place`, or the default team for everybody. Raises: Conflict, InvalidValue, MissingParameter, ModelNotFound."""
    _check_name(name)
    if not wanted.targets:
        raise MissingParameter("a name needs a target", param="targets")
    try:
        with transaction.atomic():
            alias = Alias(name=name, **owner)
            _set(alias, wanted)
            alias.save(force_insert=True)
            catalog.invalidate()
            trail.alias("create", alias, after=trail.of_alias(alias))
    except IntegrityError:
        raise Conflict(f"there is an alias named `{name}` already", param="name") from None
    return alias


def change(alias: Alias, wanted: Wanted) -> Alias:
    """Point it elsewhere or change what it adds; the targets before can be brought back."""
    with transaction.atomic():
        alias = _locked(alias)
        before = trail.of_alias(alias)
        if wanted.targets is not None:
            alias.former = shown_targets(alias)
        _set(alias, wanted)
        alias.save()
        catalog.invalidate()
        trail.alias("change", alias, before=before, after=trail.of_alias(alias))
    return alias


def roll_back(alias: Alias) -> Alias:
    """Change places with the targets before; a second time brings these back.

    Raises: Conflict where there are none, or where one of them is gone.
    """
    with transaction.atomic():
        alias = _locked(alias)
        if not alias.former:
            raise Conflict(f"`{alias.name}` has no former targets")
        was, before = trail.of_alias(alias), shown_targets(alias)
        try:
            _set(alias, Wanted(targets=alias.former))
        except ModelNotFound as error:
            raise Conflict(f"a former target is gone: {error.message}") from error
        alias.former = before
        alias.save()
        catalog.invalidate()
        trail.alias("roll_back", alias, before=was, after=trail.of_alias(alias))
    return alias


def remove(alias: Alias) -> None:
    with transaction.atomic():
        before = trail.of_alias(alias)
        alias.delete()
        catalog.invalidate()
        trail.alias("remove", alias, before=before)


def shown_targets(alias: Alias) -> list[dict[str, Any]]:
    return alias.targets or [{"model": alias.target.name, "weight": 1.0}]


def _locked(alias: Alias) -> Alias:
    rows = Alias.objects.select_for_update(of=("self",)).select_related("target")
    return rows.get(pk=alias.pk)


def _check_name(name: str) -> None:
    """Raises: InvalidValue, Conflict."""
    if not entries.NAME.fullmatch(name) or len(name) > 128 or name.endswith("/rollback"):
        raise InvalidValue(
            "a name has 1 to 128 letters, digits and . _ : @ + - with / between parts", param="name"
        )
    if Model.objects.filter(name=name).exists():
        raise Conflict(f"`{name}` is a model; a model's own name means that model", param="name")
    if name in settings.HUB_CONFIG.model_mapping:
        raise Conflict(f"`{name}` is set by model_mapping in the config file", param="name")


def _set(alias: Alias, wanted: Wanted) -> None:
    """Raises: InvalidValue, UnknownParameter, ModelNotFound."""
    if wanted.targets is not None:
        alias.target, alias.targets = _targets(wanted.targets)
    if wanted.sticky is not None:
        alias.sticky = wanted.sticky
    if wanted.defaults is not None:
        alias.defaults = {k: v for k, v in wanted.defaults.items() if v is not None}
    if wanted.system_prompt is not None:
        alias.system_prompt = _prompt(wanted.system_prompt)
    _check_defaults(alias)
    owners.check(alias)


def _no_target(name: str) -> ModelNotFound:
    """An alias leads to models: one of others' says as much as one that is not there."""
    words = f"there is no model `{name[:128]}`; an alias leads to models, not to other aliases"
    return ModelNotFound(words, param="targets")


def _targets(wanted: list[dict[str, Any]]) -> tuple[Model, list[dict[str, Any]]]:
    """Give the model of most weight, and the targets in their order."""
    names = [target["model"] for target in wanted]
    if not 1 <= len(names) <= MAX_TARGETS or len(set(names)) < len(names):
        raise InvalidValue(f"a route has 1 to {MAX_TARGETS} different targets", param="targets")
    rows = {row.name: row for row in Model.objects.filter(name__in=names)}
    for name in names:
        if name not in rows:
            raise _no_target(name)
    if len({row.kind for row in rows.values()}) > 1:
        raise InvalidValue("the targets of a route are of one kind", param="targets")
    found = [{"model": t["model"], "weight": float(t.get("weight", 1))} for t in wanted]
    if not any(target["weight"] for target in found):
        raise InvalidValue("one target at least has a weight", param="targets")
    most = max(found, key=lambda target: float(target["weight"]))
    return rows[most["model"]], found if len(found) > 1 else []


def _prompt(text: str) -> str:
    if len(text) > MAX_PROMPT_CHARS or "\0" in text:
        raise InvalidValue(
            f"a system prompt has at most {MAX_PROMPT_CHARS} characters", param="system_prompt"
        )
    return text


def _check_defaults(alias: Alias) -> None:
    """Read them as a request's: what is refused there is refused here."""
    known = DEFAULTS.get(alias.target.kind, frozenset())
    for name in alias.defaults:
        if name not in known:
            offered = ", ".join(sorted(known)) or "none for this kind"
            raise UnknownParameter(
                f"`{name[:100]}` cannot have a default here; known: {offered}",
                param=f"defaults.{name[:100]}",
            )
    if alias.system_prompt and known is not TEXT_DEFAULTS:
        raise InvalidValue("only a chat has a system prompt", param="system_prompt")
    if alias.defaults:
        _read(alias)


def _read(alias: Alias) -> None:
    request: dict[str, Any] = {"model": alias.name or "x", **alias.defaults}
    try:
        if alias.target.kind == "embed":
            embeddings.parse({**request, "input": "x"})
        else:
            chat.parse({**request, "messages": [{"role": "user", "content": "x"}]})
    except HubError as error:
        raise InvalidValue(error.message, param=f"defaults.{error.param}") from error
