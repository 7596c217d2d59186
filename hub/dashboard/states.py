"""What a model's state is called, and how it looks: one word, one icon, one tone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from inference import wire

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class State:
    """`tone` is a style (quiet, busy, good, warn, bad); icon and word say the same without it."""

    key: str
    word: "_StrPromise"
    icon: str
    tone: str
    reason: str = ""
    percent: int | None = None  # while loading
    running: int = 0


def unloaded() -> State:
    return State("cold", _("not loaded"), icon="moon", tone="quiet")


def preparing(percent: int | None) -> State:
    return State("preparing", _("preparing"), icon="download", tone="busy", percent=percent)


def failed(reason: str) -> State:
    return State("failed", _("failed"), icon="alert-triangle", tone="bad", reason=reason)


def of(status: wire.ModelStatus) -> State:
    """Name the state of a model that the node knows."""
    match status.state:
        case "loading":
            percent = round(100 * status.progress)
            return State("loading", _("loading"), icon="loader-2", tone="busy", percent=percent)
        case "ready" if status.running:
            running = status.running
            return State("busy", _("busy"), icon="activity", tone="busy", running=running)
        case "ready":
            return State("ready", _("ready"), icon="circle-check", tone="good")
        case "draining":
            return State("draining", _("unloading"), icon="logout-2", tone="warn")
        case "failed":
            return failed(status.reason)
        case _:
            return unloaded()
