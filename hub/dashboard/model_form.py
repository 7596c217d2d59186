"""The settings of one model as a form: what each does, when it holds, and what was written.

The fields are those of `inference.model_settings`; `setting_words` says what they do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from django.conf import settings
from django.utils.translation import gettext as _

from hub.dashboard import setting_words
from hub.dashboard.setting_words import Words
from inference import entries, wire
from inference.errors import InvalidValue
from inference.model_settings import OPTIONS, SOFT, Settings
from inference.models import Model

APART = frozenset({"pinned", "options"})  # a box of its own, and a field for each of them
OPTION = "options."
MAX_TAGS, MAX_TAG_CHARS = 32, 64
FLAGS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Field:
    """One setting; `kind` is int, float, str or bool, `choices` are all that it takes."""

    name: str
    words: Words
    kind: type[Any]
    choices: tuple[str, ...] = ()

    @property
    def holds_at_once(self) -> bool:
        return self.name in SOFT

    @property
    def is_number(self) -> bool:
        return self.kind is not str

    @property
    def slug(self) -> str:
        return self.name.replace(".", "-")


@dataclass(frozen=True, slots=True)
class Line:
    """A field with what stands in it and what an empty one means."""

    field: Field
    value: str
    usual: str
    choices: tuple[str, ...]


def fields(engine: str) -> list[Field]:
    """List the settings of every model, then the options of this engine."""
    own = [_field(name, hint, "") for name, hint in _hints(Settings) if name not in APART]
    options = OPTIONS.get(engine)
    return own + [_field(n, hint, OPTION) for n, hint in (_hints(options) if options else [])]


def _hints(kind: type[Any]) -> list[tuple[str, Any]]:
    return [*get_type_hints(kind).items()]


def _field(name: str, hint: Any, prefix: str) -> Field:
    """Read from the type what a field takes: `Literal`, a number, a text, a yes or no."""
    parts = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    kind = next(part for part in parts if part is not type(None))
    words = setting_words.OF[f"{prefix}{name}"]
    if get_origin(kind) is Literal:
        return Field(f"{prefix}{name}", words, str, get_args(kind))
    return Field(f"{prefix}{name}", words, kind, FLAGS if kind is bool else ())


def lines(
    model: Model, devices: Sequence[wire.DeviceInfo], written: Mapping[str, str] | None = None
) -> list[Line]:
    places = ("auto", *dict.fromkeys(_places(devices)))
    return [_line(field, model, places, written) for field in fields(model.engine)]


def _places(devices: Sequence[wire.DeviceInfo]) -> list[str]:
    names = [device.name for device in devices]
    return names + ["cuda" for name in names if name.startswith("cuda")]


def _line(
    field: Field, model: Model, places: tuple[str, ...], written: Mapping[str, str] | None
) -> Line:
    value = _shown(_kept(field.name, model)) if written is None else written.get(field.name, "")
    choices = places if field.name == "device" else field.choices
    if value and choices and value not in choices:
        choices = (*choices, value)
    return Line(field, value, _usual(field.name, model), choices)


def _kept(name: str, model: Model) -> Any:
    if name.startswith(OPTION):
        return model.settings.get("options", {}).get(name.removeprefix(OPTION))
    return model.settings.get(name)


def _shown(kept: Any) -> str:
    if kept is None:
        return ""
    if isinstance(kept, bool):
        return "yes" if kept else "no"
    return f"{kept:g}" if isinstance(kept, float) else str(kept)


def _usual(name: str, model: Model) -> str:
    """Say what holds where nothing is set."""
    if name == "idle_unload_s":
        idle_s = settings.HUB_CONFIG.model_config.auto_unload_timeout
        return f"{idle_s:g}" if idle_s else _("never")
    if name == "context_tokens" and model.context_tokens:
        return _("up to %(n)s, as memory allows") % {"n": model.context_tokens}
    usual = {"priority": "0", "replicas": "1"}
    return usual.get(name) or _("the engine's own")


def engines(model: Model) -> tuple[str, ...]:
    """Name the engines that serve these files, its own first."""
    return (model.engine, *entries.ENGINES.get(model.engine, ()))


# --- what was written -------------------------------------------------------------------------------


def patch(engine: str, written: Mapping[str, str]) -> dict[str, Any]:
    """Give what is to be changed; an empty field is the default again. Raises: InvalidValue."""
    found: dict[str, Any] = {"pinned": True if written.get("pinned") == "yes" else None}
    options: dict[str, Any] = {}
    for field in fields(engine):
        value = _parsed(field, written.get(field.name, "").strip())
        if field.name.startswith(OPTION):
            options[field.name.removeprefix(OPTION)] = value
        else:
            found[field.name] = value
    return found | ({"options": options} if options else {})


def _parsed(field: Field, text: str) -> Any:
    """Raises: InvalidValue."""
    if not text:
        return None
    if field.kind is bool:
        return text == "yes"
    if field.kind is str or field.choices:
        return text
    try:
        return field.kind(text.replace(",", "."))
    except ValueError:
        said = _("%(field)s: a number is needed, not %(text)s")
        message = said % {"field": field.words.title, "text": text[:40]}
        raise InvalidValue(message, param=field.name) from None


def tags(text: str) -> list[str]:
    """Raises: InvalidValue."""
    found = [*dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip())]
    if len(found) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARS for tag in found):
        raise InvalidValue(_("At most 32 tags of 64 characters."), param="tags")
    return found
