"""The scheduler's page: memory, queue, decisions, and what loading a model would do."""

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.principals import Principal
from hub.dashboard import guards, pages
from inference import catalog, router, sight, veil, wire
from inference.errors import HubError
from inference.models import Model

PANELS = ["held", "queue", "memory", "decisions", "rules"]
MAX_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the node says, with a sentence in the page's words."""

    title: str
    found: wire.Planned

    @property
    def reason(self) -> str:
        return self.found.reason

    @property
    def places(self) -> list["Place"]:
        return [_place(place) for place in self.found.places]


@dataclass(frozen=True, slots=True)
class Place:
    """One device, or several together, and what loading there would do."""

    devices: str
    words: str
    reason: str
    needed_bytes: int
    free_bytes: int
    chosen: bool


@require_safe
@guards.needs("status:read")
def scheduler(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("model", "")[:256]
    who = guards.principal(request)
    context = {"board": pages.board(who), "names": _names(who), "asked": asked}
    if asked:
        try:
            context["plan"] = _plan(asked, who)
        except HubError as error:
            context["problem"] = pages.failure_text(error)
    return pages.show(request, "pages/scheduler.html", _("Scheduler"), PANELS, context)


def _names(who: Principal) -> list[str]:
    rows = sight.models(who).filter(state=Model.State.AVAILABLE).order_by("name")
    return [*rows.values_list("name", flat=True)[:MAX_NAMES]]


def _plan(name: str, who: Principal) -> Plan:
    """Raises: HubError."""
    resolved = catalog.resolve_now(name, who)
    found = async_to_sync(router.plan)(resolved.spec)
    found = veil.veiled(found, catalog.hidden_now(who))
    return Plan(_title(resolved.model, found), found)


def _place(place: wire.Place) -> Place:
    others = ", ".join(place.victims)
    words = {
        "fits": _("fits"),
        "fits_after_unloading": _("fits once %(others)s is unloaded"),
        "waits": _("would wait"),
        "does_not_fit": _("does not fit"),
    }
    return Place(
        devices=", ".join(place.devices),
        words=words[place.verdict] % {"others": others},
        reason=place.reason,
        needed_bytes=place.needed_bytes,
        free_bytes=place.free_bytes,
        chosen=place.chosen,
    )


def _title(name: str, found: wire.Planned) -> str:
    sentences = {
        "loaded": _("%(name)s is loaded already."),
        "loading": _("%(name)s is loading already."),
        "fits": _("%(name)s fits beside what is loaded now."),
        "fits_after_unloading": _("%(name)s fits once %(others)s is unloaded."),
        "waits": _("%(name)s would wait."),
        "does_not_fit": _("%(name)s does not fit."),
    }
    others = ", ".join(victim.name for victim in found.victims)
    return sentences[found.verdict] % {"name": name, "others": others}
