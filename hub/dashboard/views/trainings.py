"""Trainings: list, one job live, and what a click does to it."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts.principals import Principal
from hub.dashboard import guards, pages
from hub.dashboard.job_page import JobPage
from hub.dashboard.views.saying import said
from inference.errors import HubError, NotFound
from training import jobs, retention
from training.models import Job

READ, WRITE = "training:read", jobs.SCOPE
PAGE_ROWS = 50
Verb = Callable[[Job, Principal], Job]
VERBS: dict[str, tuple[Verb, Any]] = {
    "pause": (jobs.pause, gettext_lazy("It pauses after the step at hand.")),
    "resume": (jobs.resume, gettext_lazy("It goes on from its newest checkpoint.")),
    "stop": (jobs.stop, gettext_lazy("It stops after the step at hand, and is registered.")),
    "cancel": (jobs.cancel, gettext_lazy("It is cancelled.")),
}
GROUPS: dict[str, tuple[Any, frozenset[Job.State]]] = {
    "active": (gettext_lazy("Under way"), frozenset({*Job.OPEN, Job.State.PAUSED})),
    "done": (gettext_lazy("Succeeded"), frozenset({Job.State.SUCCEEDED})),
    "failed": (gettext_lazy("Failed"), frozenset({Job.State.FAILED, Job.State.CANCELLED})),
}


@require_safe
@guards.needs(READ)
def trainings(request: HttpRequest) -> HttpResponse:
    """List jobs, the newest first."""
    who, chosen = guards.principal(request), request.GET.get("state", "")
    every = Job.objects.visible_to(who).select_related("team", "version__data_set")
    counts = {name: every.filter(state__in=states).count() for name, (_, states) in GROUPS.items()}
    rows = every.filter(state__in=GROUPS[chosen][1]) if chosen in GROUPS else every
    page = Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "lines": [JobPage(job, who) for job in page],
        "chosen": chosen if chosen in GROUPS else "",
        "groups": [(name, title, counts[name]) for name, (title, _) in GROUPS.items()],
        "n_active": counts["active"],
    }
    return pages.show(request, "pages/trainings.html", _("Training"), context=context)


@require_safe
@guards.needs(READ)
def training(request: HttpRequest, key: str) -> HttpResponse:
    """Show one job; while it goes on, its socket tells the page to ask for the live part again."""
    page = JobPage(named(request, key), guards.principal(request))
    context = {"job": page, "is_live": not page.row.is_over or page.is_exporting}
    return pages.show(request, "pages/training.html", key, context=context)


def named(request: HttpRequest, key: str) -> Job:
    """Raises: Http404."""
    try:
        return jobs.find(key, guards.principal(request))
    except NotFound as error:
        raise Http404 from error


@require_POST
@guards.needs(WRITE)
def change(request: HttpRequest, key: str, verb: str) -> HttpResponse:
    """Pause, resume, stop and register, or cancel."""
    if verb not in VERBS:
        raise Http404
    act, done = VERBS[verb]
    try:
        act(named(request, key), guards.principal(request))
    except HubError as error:
        messages.error(request, said(error))
    else:
        messages.success(request, done)
    return redirect("training", key)


@require_POST
@guards.needs(WRITE)
def remove(request: HttpRequest, key: str) -> HttpResponse:
    """Remove one that is over, with its folder."""
    try:
        retention.remove(named(request, key), guards.principal(request))
    except HubError as error:
        messages.error(request, said(error))
        return redirect("training", key)
    messages.success(request, _("Training %(name)s was removed.") % {"name": key})
    return redirect("trainings")
