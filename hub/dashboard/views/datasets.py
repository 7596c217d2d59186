"""Data sets: list, bring, a version with its report, withdraw, remove."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.principals import Principal
from hub.dashboard import data_set_page, guards, pages
from hub.dashboard.data_set_page import VersionPage
from hub.dashboard.views.saying import said
from inference.errors import HubError, NotFound
from training import sets
from training.models import DataSet

READ, WRITE = "datasets:read", sets.SCOPE
PAGE_ROWS = 50
MAX_SEARCH_CHARS = 128


@require_safe
@guards.needs(READ)
def datasets(request: HttpRequest) -> HttpResponse:
    """List what this person may see, each with its newest version."""
    search = request.GET.get("q", "").strip()[:MAX_SEARCH_CHARS]
    who = guards.principal(request)
    rows = sets.visible(who).select_related("team").prefetch_related("versions")
    found = rows.filter(name__icontains=search) if search else rows
    page = Paginator(found, PAGE_ROWS).get_page(request.GET.get("page"))
    context = {"page": page, "lines": data_set_page.lines([*page], who), "search": search}
    return pages.show(request, "pages/datasets.html", _("Data sets"), context=context)


@require_safe
@guards.needs(READ)
def dataset(request: HttpRequest, key: str, number: int = 0) -> HttpResponse:
    """Show a data set with one version, the newest unless one is named."""
    data_set, who = named(request, key), guards.principal(request)
    versions = [*data_set.versions.all()]
    chosen = next((row for row in versions if row.number == number or not number), None)
    if chosen is None:
        raise Http404
    version = VersionPage(chosen, who)
    code = request.GET.get("code", "")
    shown = code if code in {kind.code for kind in version.kinds} else ""
    context: dict[str, Any] = {
        "data_set": data_set,
        "version": version,
        "versions": [VersionPage(row, who) for row in versions],
        "code": shown,
        "findings": _page(version.findings_of(shown), request),
        "may_change": may_change(who, data_set),
    }
    return pages.show(request, "pages/dataset.html", data_set.name, context=context)


def _page(rows: list[Any], request: HttpRequest) -> Any:
    return Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page"))


def named(request: HttpRequest, key: str) -> DataSet:
    """Raises: Http404."""
    try:
        return sets.find(key, guards.principal(request))
    except NotFound as error:
        raise Http404 from error


def may_change(who: Principal, data_set: DataSet) -> bool:
    return who.allows_in(WRITE, data_set.ownership[0])


@require_POST
@guards.needs(WRITE)
def withdraw(request: HttpRequest, key: str, number: int) -> HttpResponse:
    """Let nothing new be trained on a version."""
    data_set, who = named(request, key), guards.principal(request)
    done = _("Version %(n)s is withdrawn: nothing new is trained on it.") % {"n": number}
    _attempt(request, lambda: sets.withdraw(who, sets.find_version(data_set, number)), done)
    return redirect("dataset_version", key, number)


@require_POST
@guards.needs(WRITE)
def remove(request: HttpRequest, key: str) -> HttpResponse:
    data_set, who = named(request, key), guards.principal(request)
    done = _("The data set %(name)s is removed.") % {"name": data_set.name}
    is_done = _attempt(request, lambda: sets.remove(who, data_set), done)
    return redirect("datasets") if is_done else redirect("dataset", key)


def _attempt(request: HttpRequest, act: Callable[[], object], done: str) -> bool:
    """Do it, and say on the next page what came of it."""
    try:
        act()
    except HubError as error:
        messages.error(request, said(error))
        return False
    messages.success(request, done)
    return True
