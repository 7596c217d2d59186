"""Numbers with their units, as people read them. Pure."""

from datetime import UTC, datetime
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from inference import sizes

NARROW_SPACE = "\u202f"
UNKNOWN = "\u2013"  # an en dash


def human_bytes(value: float | None) -> str:
    """Give decimal units with three digits: 105 MB, 1.35 GB."""
    return UNKNOWN if value is None else sizes.text(value)


def count(value: float | None) -> str:
    """Give counts below ten thousand in full, larger ones short: 9 500, 12.3k, 4.56M, 7B."""
    if value is None:
        return UNKNOWN
    for limit, divisor, unit in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{sizes.digits(value / divisor)}{unit}"
    return f"{value:,.0f}".replace(",", NARROW_SPACE)


def rate(value: float | None) -> str:
    """Give one decimal below 100."""
    if not value:
        return "0"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}".replace(",", NARROW_SPACE)


def percent(part: float, whole: float) -> int:
    return round(100 * part / whole) if whole else 0


def deviation_percent(found: float, expected: float) -> int | None:
    """Give by how much one differs from the other; None where either is not known."""
    return percent(found - expected, expected) if found and expected else None


def duration(seconds: float | None) -> str:
    """Give a short duration: 0.4 s, 12 s, 3 min, 2 h, 5 d."""
    if seconds is None:
        return UNKNOWN
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 and seconds % 1 else f"{seconds:.0f} s"
    if seconds < 5400:
        number, unit = seconds / 60, pgettext("unit", "min")
    elif seconds < 172_800:
        number, unit = seconds / 3600, pgettext("unit", "h")
    else:
        number, unit = seconds / 86_400, pgettext("unit", "d")
    return f"{number:.0f} {unit}"


def milliseconds(value: float | None) -> str:
    """Give a short time in its own unit: 45 ms, 1.2 s."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f} ms" if value < 1000 else duration(value / 1000)


def money(value: float) -> str:
    """Give two decimals, more where there would be nothing but zeros."""
    if 0 < abs(value) < 1e-6:
        return "< 0.000001"
    if value and abs(value) < 0.1:
        return f"{Decimal(f'{value:.2g}'):f}"
    return f"{value:,.2f}".replace(",", NARROW_SPACE)


def price(value: Decimal) -> str:
    """Give all decimals that say something, and two at least."""
    text = f"{value:f}".rstrip("0") if value % 1 else f"{value:.0f}."
    whole, _point, decimals = text.partition(".")
    return f"{whole}.{decimals:0<2}"


def ago(seconds: float) -> str:
    """Give a relative time that changes once a minute, so that live pages stay calm."""
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        return _("%(n)d min ago") % {"n": seconds // 60}
    return _("%(time)s ago") % {"time": duration(seconds)}


def moment(when: datetime | float) -> datetime:
    return when if isinstance(when, datetime) else datetime.fromtimestamp(when, tz=UTC)
