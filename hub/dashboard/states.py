"""What a model's state is called, and how it looks: one word, one icon, one tone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from inference import wire
from inference.models import Model

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


LEFT = {
    "draining": State("draining", _("unloading"), icon="logout-2", tone="warn"),
    "asleep": State("asleep", _("asleep"), icon="moon", tone="quiet"),
}
ARRIVING = {
    Model.State.QUEUED: (_("queued"), "hourglass"),
    Model.State.UPLOADING: (_("uploading"), "upload"),
    Model.State.DOWNLOADING: (_("downloading"), "download"),
    Model.State.INSPECTING: (_("checking"), "search"),
    Model.State.PREPARING: (_("preparing"), "download"),
}
MOVING = frozenset({Model.State.UPLOADING, Model.State.DOWNLOADING, Model.State.INSPECTING})


def arriving(model: Model) -> State:
    """Name how far the files of a model are that is being added."""
    word, icon = ARRIVING[Model.State(model.state)]
    percent = None
    is_read = model.state == Model.State.INSPECTING and model.done_bytes >= model.total_bytes
    if model.state in MOVING and model.total_bytes and not is_read:
        percent = min(100, round(100 * model.done_bytes / model.total_bytes))
    return State("preparing", word, icon, tone="busy", percent=percent)


def cancelled() -> State:
    return State("cancelled", _("cancelled"), icon="ban", tone="quiet")


def failed(reason: str) -> State:
    return State("failed", _("failed"), icon="alert-triangle", tone="bad", reason=reason)


def title(one: wire.ReservationStatus) -> str:
    """Name a training for whoever looks; to others than its team it is a number."""
    return gettext("training: %(label)s") % {"label": one.label or one.id}


def of_training(one: wire.ReservationStatus) -> State:
    match one.state:
        case "waiting":
            return State("waiting", _("waits for memory"), icon="hourglass", tone="busy")
        case "yielding":
            return State("yielding", _("pauses for requests"), icon="logout-2", tone="warn")
        case _:
            return State("training", _("training"), icon="activity", tone="busy")


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
        case "draining" | "asleep":
            return LEFT[status.state]
        case "failed":
            return failed(status.reason)
        case _:
            return unloaded()
