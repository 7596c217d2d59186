"""Verdicts on models that are not here yet, in few words. The figures are those of `inference.fit`."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

BITS = {"int8": gettext_lazy("8 bits"), "nf4": gettext_lazy("4 bits")}
WORDS = {
    "fits": gettext_lazy("fits"),
    "fits_after_unloading": gettext_lazy("fits once others leave"),
    "does_not_fit": gettext_lazy("too large"),
}


def words(fit: dict[str, Any] | None) -> str:
    """Say it, and in how many bits it would fit where it does not."""
    if fit is None:
        return ""
    for smaller in fit["smaller"]:
        if smaller["verdict"] != "does_not_fit":
            return _("fits in %(bits)s") % {"bits": bits(smaller["quantization"])}
    if fit["verdict"] == "does_not_fit" and fit["needed_bytes"] <= fit["limit_bytes"]:
        return _("does not fit")  # beside what stays
    return str(WORDS[fit["verdict"]])


def bits(quantization: str) -> str:
    return str(BITS.get(quantization, quantization))


def tone(fit: dict[str, Any] | None) -> str:
    """Give the colour of the words: good, warn, bad."""
    if fit is None:
        return ""
    if fit["verdict"] != "does_not_fit":
        return "good" if fit["verdict"] == "fits" else "warn"
    smaller = (one["verdict"] != "does_not_fit" for one in fit["smaller"])
    return "warn" if any(smaller) else "bad"
