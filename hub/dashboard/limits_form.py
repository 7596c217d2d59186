"""The form of limits: one partial for everyone, a key, a person, a team and a model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import limit_rows, quota
from accounts.limit_rows import About, LimitRefused
from accounts.models import ApiKey
from hub import env
from hub.dashboard import units, wording
from inference import sizes

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

NUMBER = re.compile(r"\d{1,15}\Z")
STORAGE = "storage_bytes"
LEAST_BYTES, MOST_BYTES = 10**6, 10**15  # less is a size whose unit was forgotten
KINDS: dict[str, "_StrPromise"] = {
    "everyone": gettext_lazy("Everyone"),
    "key": gettext_lazy("Key"),
    "user": gettext_lazy("Person"),
    "team": gettext_lazy("Team"),
    "model": gettext_lazy("Model"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One limit: `usual` says what holds while the field is empty."""

    name: str
    title: str
    value: str
    usual: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    about: About
    kind_title: str
    title: str
    fields: list[Field]
    summary: str


def of(about: About, given: Mapping[str, str] | None = None, wrong: str = "") -> Form:
    """Give the form as the row says, or as it was just filled in, with what is wrong with it."""
    row = limit_rows.of(about.subject)
    names = [name for name in limit_rows.FIELDS if name not in _not_of(about)]
    usual = _usual(about)
    fields = [
        Field(
            name,
            wording.limit_word(name),
            _text(name, row[name]) if given is None else given.get(name, ""),
            usual[name],
            _wrong(name) if name == wrong else "",
        )
        for name in names
    ]
    title = _titles([about])[about.subject]
    return Form(about, str(KINDS[about.kind]), title, fields, _summary(row))


def _not_of(about: About) -> tuple[str, ...]:
    return limit_rows.QUOTAS if about.kind in limit_rows.WITHOUT_QUOTAS else ()


def listing() -> list[Form]:
    """Give everything that has limits of its own, everyone aside."""
    found = [(about, row) for about, row in limit_rows.listing() if about.kind != quota.EVERYONE]
    titles = _titles([about for about, _row in found])
    return [
        Form(about, str(KINDS[about.kind]), titles[about.subject], [], _summary(row))
        for about, row in found
    ]


def values(given: Mapping[str, str]) -> dict[str, int | None]:
    """Read the form; an empty field says nothing. Raises: LimitRefused."""
    found: dict[str, int | None] = {}
    for name in limit_rows.FIELDS:
        if name not in given:
            continue
        text = given[name].strip()
        found[name] = (_bytes(text) if name == STORAGE else _number(name, text)) if text else None
    return found


def _number(name: str, text: str) -> int:
    """Raises: LimitRefused."""
    digits = re.sub(r"[\s_,.\u202f]", "", text)
    if not NUMBER.match(digits):
        raise LimitRefused(_("A limit is a whole number."), name)
    return int(digits)


def _bytes(text: str) -> int:
    """Read a size with its unit; 0 needs none. Raises: LimitRefused."""
    try:
        size = env.bytes_of(text)
    except ValueError:
        size = -1
    if size and not LEAST_BYTES <= size <= MOST_BYTES:
        raise LimitRefused(_("Storage is a size with its unit, such as 20 GB."), STORAGE)
    return size


def _wrong(name: str) -> str:
    if name == STORAGE:
        return _("Write a size with its unit, such as 20 GB, 0 for no limit, or nothing.")
    return _("Write a whole number, 0 for no limit, or nothing.")


def _titles(abouts: Sequence[About]) -> dict[str, str]:
    """Name each subject as people know it; the names of all keys are one query."""
    ids = [about.name for about in abouts if about.kind == "key"]
    keys = ApiKey.objects.filter(public_id__in=ids).values_list("public_id", "name")
    names = {f"key:{public_id}": name for public_id, name in keys}
    return {
        about.subject: names.get(about.subject) or about.name or str(KINDS[about.kind])
        for about in abouts
    }


def _text(name: str, value: int | None) -> str:
    """Write a value as it can be read again, without loss."""
    if not value or name != STORAGE:
        return "" if value is None else str(value)
    shown = sizes.text(value)
    return shown if env.bytes_of(shown) == value else f"{value} B"


def _usual(about: About) -> dict[str, str]:
    """Say of each limit what holds where the row says nothing."""
    usual = dict.fromkeys(limit_rows.FIELDS, _("no limit"))
    if about.kind in {"team", "model"}:
        return usual
    everyone = {} if about.kind == quota.EVERYONE else limit_rows.of(quota.EVERYONE)
    for name in usual.keys() - set(limit_rows.QUOTAS):
        given = everyone.get(name)
        holds = getattr(settings.HUB_CONFIG.rate_limits, name) if given is None else given
        usual[name] = units.count(holds) if holds else usual[name]
    return usual


def _shown(name: str, value: int) -> str:
    if not value:
        return _("no limit")
    return sizes.text(value) if name == STORAGE else units.count(value)


def _summary(row: Mapping[str, int | None]) -> str:
    parts = [
        f"{wording.limit_word(name)}: {_shown(name, value)}"
        for name, value in row.items()
        if value is not None
    ]
    return " · ".join(parts)
