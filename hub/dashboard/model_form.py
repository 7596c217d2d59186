"""The settings of one model as a form: what each does, when it holds, and what was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hub.dashboard import units
from inference.errors import InvalidValue
from inference.model_settings import SOFT
from inference.models import Model

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Field:
    """One setting; `effect` says what a larger number costs and brings."""

    name: str
    title: "_StrPromise"
    effect: "_StrPromise"
    kind: type[int] | type[float]

    @property
    def holds_at_once(self) -> bool:
        return self.name in SOFT


FIELDS = (
    Field(
        "priority",
        gettext_lazy("Priority"),
        gettext_lazy("Whoever has less leaves the memory first; -1000 to 1000."),
        int,
    ),
    Field(
        "idle_unload_s",
        gettext_lazy("Idle time in seconds"),
        gettext_lazy("It is unloaded after so long without a request; 0: never by itself."),
        float,
    ),
    Field(
        "max_queue",
        gettext_lazy("Longest queue"),
        gettext_lazy("More waiting requests are refused with 429, so that nobody waits in vain."),
        int,
    ),
    Field(
        "max_concurrency",
        gettext_lazy("Requests at once"),
        gettext_lazy("More share the same time and need more memory for their KV cache."),
        int,
    ),
    Field(
        "context_tokens",
        gettext_lazy("Context in tokens"),
        gettext_lazy("Longer conversations fit, and need more memory for the KV cache."),
        int,
    ),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A field with what stands in it and what an empty one means."""

    field: Field
    value: str
    usual: str


def lines(model: Model, written: Mapping[str, str] | None = None) -> list[Line]:
    return [_line(field, model, written) for field in FIELDS]


def _line(field: Field, model: Model, written: Mapping[str, str] | None) -> Line:
    kept = model.settings.get(field.name)
    value = "" if kept is None else f"{kept:g}" if isinstance(kept, float) else str(kept)
    if written is not None:
        value = written.get(field.name, "")
    return Line(field, value, _usual(field.name, model))


def _usual(name: str, model: Model) -> str:
    """Say what holds where nothing is set."""
    if name == "idle_unload_s":
        idle_s = settings.HUB_CONFIG.model_config.auto_unload_timeout
        return units.duration(idle_s) if idle_s else _("never")
    if name == "context_tokens" and model.context_tokens:
        return str(model.context_tokens)
    return "0" if name == "priority" else _("the engine's own")


def patch(written: Mapping[str, str]) -> dict[str, Any]:
    """Give what is to be changed; an empty field is the default again. Raises: InvalidValue."""
    found: dict[str, Any] = {"pinned": True if written.get("pinned") == "yes" else None}
    return found | {field.name: _number(field, written.get(field.name, "")) for field in FIELDS}


def _number(field: Field, text: str) -> int | float | None:
    """Raises: InvalidValue."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        return field.kind(text)
    except ValueError:
        said = _("%(field)s: a number is needed, not %(text)s")
        message = said % {"field": field.title, "text": text[:40]}
        raise InvalidValue(message, param=field.name) from None
