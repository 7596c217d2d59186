"""Filters and small tags for the dashboard: units, times, icons, sparklines, words."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.principals import Principal
from hub.dashboard import audit_words, devices, fits, panels, reasons, units, wording
from hub.dashboard.rows import ModelRow
from hub.dashboard.states import State
from inference.models import Upload

register = template.Library()
register.filter(units.human_bytes)
register.filter(units.count)
register.filter(units.rate)
register.filter(units.percent)
register.filter("fit_words", fits.words)
register.filter("fit_tone", fits.tone)
register.filter("bits", fits.bits)
register.filter(units.duration)
register.filter(units.milliseconds)
register.filter(units.money)
register.filter(units.price)
register.filter("reason_words", reasons.words)
register.filter("device_label", reasons.device)
register.simple_tag(wording.source_word)
register.simple_tag(wording.kind_word)
register.simple_tag(wording.share_word)
register.simple_tag(wording.decision_word)
register.simple_tag(wording.happened_word)
register.simple_tag(wording.health_word)
register.simple_tag(wording.scope_word)
register.simple_tag(wording.choice_word)
register.simple_tag(wording.limit_word)
register.simple_tag(wording.how_word)
register.simple_tag(audit_words.action_word, name="audit_word")
register.simple_tag(audit_words.actor_icon)
register.simple_tag(audit_words.actor_word)
register.simple_tag(devices.words, name="device_word")


@register.filter
def allows(who: Principal, scope: str) -> bool:
    return who.allows(scope)


@register.filter
def sentence(text: str) -> str:
    """Begin with a capital, unless it begins with a name such as gpt-4o."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


@register.filter
def per_cent(value: float) -> str:
    """Give a length for SVG; never with a local decimal comma."""
    return f"{value:.3f}%"


@register.filter
def clock(at: float) -> SafeString:
    """Give the time of day (UTC)."""
    when = datetime.fromtimestamp(at, tz=UTC)
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), when.strftime("%H:%M:%S"))


@register.filter
def ago(when: datetime | float | None) -> SafeString | str:
    """Give a relative time with the exact one on hover."""
    if when is None:
        return _("never")
    moment = units.moment(when)
    seconds = max(0.0, (datetime.now(tz=UTC) - moment).total_seconds())
    exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    iso = moment.isoformat()
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, exact, units.ago(seconds))


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """Draw one icon of the sprite; decoration only, so hidden from screen readers."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        extra,
        static("vendor/tabler-icons/sprite.svg"),
        name,
    )


@register.simple_tag
def decision_icon(action: str) -> SafeString:
    return icon(wording.DECISION_ICONS.get(action, "info-circle"))


@register.simple_tag
def last_use(row: ModelRow) -> str:
    """Say when a loaded model was used; nothing keeps that for one that is not loaded."""
    if row.running:
        return _("now")
    return units.ago(row.status.idle_s) if row.is_loaded and row.status else units.UNKNOWN


@register.simple_tag
def unload_consequence(row: ModelRow) -> str:
    """Name what an unload does to whom."""
    freed = units.human_bytes(row.memory_bytes)
    text = _("This frees %(bytes)s. The next request for it loads it again.") % {"bytes": freed}
    if row.running:
        running = ngettext(
            "%(n)d running request is finished first.",
            "%(n)d running requests are finished first.",
            row.running,
        ) % {"n": row.running}
        return f"{running} {text}"
    return text


@register.simple_tag
def remove_consequence(row: ModelRow) -> str:
    """Name what a removal takes away: the files the hub brought, and the names that lead only here."""
    files = units.human_bytes(row.model.size_bytes or row.model.done_bytes)
    parts = [
        _("Its files (%(bytes)s) are deleted.") % {"bytes": files}
        if row.model.owns_files
        else _("Its files stay where they are.")
    ]
    if row.aliases:
        parts.append(_("These aliases lead to it: %(names)s.") % {"names": ", ".join(row.aliases)})
    return " ".join([_("Requests for it are refused from now on."), *parts])


@register.simple_tag
def upload_files(upload: Upload) -> str:
    """Give paths and sizes for the script that finds the same files again."""
    return json.dumps([[file["path"], file["size_bytes"]] for file in upload.files])


@register.filter
def at(found: dict[int, Any], key: int) -> Any:
    return found.get(key)


@register.inclusion_tag("parts/state_pill.html")
def state_pill(state: State) -> dict[str, Any]:
    return {"state": state}


@register.inclusion_tag("parts/starter_pill.html")
def starter_pill(row: ModelRow) -> dict[str, Any]:
    """Tell whether a model is at hand, loaded or not."""
    return {"state": row.state, "waits": row.state.key == "cold"}


@register.simple_tag(takes_context=True)
def panel(context: Context, name: str) -> str:
    """Place a live panel, with its inside as the page's own board has it."""
    who: Principal = context["who"]
    found = panels.allowed([name], who)
    return panels.render_place(found[0], context["board"], who) if found else ""


@register.inclusion_tag("parts/sparkline.html")
def sparkline(values: Sequence[float], label: str = "") -> dict[str, Any]:
    """Draw values, oldest first, as a line of 100 x 28 units."""
    line = _polyline(values)
    return {"points": line, "area": f"0,28 {line} 100,28", "label": label}


def _polyline(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    top = max(values) or 1.0
    step = 100 / (len(values) - 1)
    return " ".join(f"{i * step:.1f},{26 - 24 * v / top:.1f}" for i, v in enumerate(values))
