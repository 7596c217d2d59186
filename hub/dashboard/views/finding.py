"""Finding a model to add: a search in the model hub, and what another server serves."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from hub.dashboard import guards, watcher
from hub.dashboard.views.saying import said
from inference import hub_search, hubs, sight, upstreams
from inference.downloads import DownloadFailed
from inference.errors import HubError

MAX_CHOICES = 200  # of a list; a longer one is offered while one types


@require_safe
@guards.needs("models:write")
def search(request: HttpRequest) -> HttpResponse:
    """Give what the hub finds, as a part of the page."""
    return render(request, "parts/hub_hits.html", found(request))


def found(request: HttpRequest) -> dict[str, Any]:
    """Search for what the address says; nothing where it says nothing."""
    text = request.GET.get("q", "").strip()[: hub_search.MAX_CHARS]
    context: dict[str, Any] = {"searched": text}
    if not text:
        return context
    try:
        state = sight.snapshot(watcher.current_now().snapshot, guards.principal(request))
        hits = hub_search.search(hubs.configured(), text, state)
    except (DownloadFailed, OSError) as error:
        return context | {"search_problem": said(error)}
    return context | {"hits": hits}


@require_POST
@sensitive_post_parameters("api_key")
@guards.needs("models:write")
def served(request: HttpRequest) -> HttpResponse:
    """Ask the server that a form names for its models; the key stays in the form."""
    given = request.POST
    context: dict[str, Any] = {"given": given, "asked": True}
    try:
        names = upstreams.models(
            given.get("base_url", "").strip(), given.get("api_key", "").strip()
        )
    except HubError as error:
        return render(request, "parts/upstream.html", context | {"problem": said(error)})
    context |= {"served": names, "is_short": names is not None and len(names) <= MAX_CHOICES}
    return render(request, "parts/upstream.html", context)
