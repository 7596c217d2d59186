"""The scheduler's page: memory, queue, decisions, and what loading a model would do."""

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from hub.dashboard import guards, pages
from inference import catalog, router, wire
from inference.errors import HubError
from inference.models import Model

PANELS = ["queue", "memory", "decisions", "rules"]
MAX_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What the node says, with a sentence in the page's words."""

    title: str
    found: wire.Planned

    @property
    def reason(self) -> str:
        return self.found.reason


@require_safe
@guards.needs("status:read")
def scheduler(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("model", "")[:256]
    context = {"board": pages.board(), "names": _names(), "asked": asked}
    if asked:
        try:
            context["plan"] = _plan(asked)
        except HubError as error:
            context["problem"] = pages.failure_text(error)
    return pages.show(request, "pages/scheduler.html", _("Scheduler"), PANELS, context)


def _names() -> list[str]:
    rows = Model.objects.filter(state=Model.State.AVAILABLE).order_by("name")
    return [*rows.values_list("name", flat=True)[:MAX_NAMES]]


def _plan(name: str) -> Plan:
    """Raises: HubError."""
    resolved = catalog.resolve_now(name)
    found = async_to_sync(router.plan)(resolved.spec)
    return Plan(_title(resolved.model, found), found)


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
