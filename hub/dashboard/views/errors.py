"""Error pages in the dashboard's looks; they say what happened and where to go.

Under /api programs read them: there they are the envelope.
"""

import sys

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from hub import envelope
from inference import outages
from inference.errors import DiskFull, HubError, InvalidRequest


def _page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    context = {"title": title, "text": text, "code": status}
    return render(request, "pages/error.html", context, status=status)


def _for_programs(request: HttpRequest, error: BaseException) -> JsonResponse | None:
    """Answer by the envelope under /api, even where no view was found; None for a page."""
    is_program = request.path == "/api" or request.path.startswith("/api/")
    return envelope.answer(envelope.translate(error)) if is_program else None


@login_not_required
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    unread = InvalidRequest("The request could not be understood.")
    if (answer := _for_programs(request, unread)) is not None:
        return answer
    text = _("The request could not be understood. Go back and try again.")
    return _page(request, 400, _("That request made no sense"), text)


@login_not_required
def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if (answer := _for_programs(request, exception)) is not None:
        return answer
    text = str(exception) or _("Your role does not allow this.")
    return _page(request, 403, _("This is not yours to see"), text)


@login_not_required
def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = _("The form was too old, or came from another site. Go back, reload and try again.")
    return _page(request, 403, _("The form has expired"), text)


@login_not_required
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if (answer := _for_programs(request, exception)) is not None:
        return answer
    text = _("There is nothing at this address. It may have been removed, or it is not yours.")
    return _page(request, 404, _("Nothing is here"), text)


@login_not_required
def failed(request: HttpRequest) -> HttpResponse:
    """Called while the exception is handled: an outage is no mistake of the hub."""
    error = sys.exception() or HubError("The server had an error; its log says more.")
    if (answer := _for_programs(request, error)) is not None:
        return answer
    outage = outages.of(error)
    if outage is not None:
        return _outage(request, outage)
    text = _("The hub made a mistake. It is in the log, under the id below; please try again.")
    return _page(request, 500, _("Something broke"), text)


def _outage(request: HttpRequest, outage: HubError) -> HttpResponse:
    if isinstance(outage, DiskFull):
        title = _("The disk is full")
        text = _("Nothing was changed. Free space on the hub's disk, then try again.")
    else:
        title = _("A part of the hub is away")
        text = _("Nothing was changed. Its database, Redis or disk cannot be used now; try again.")
    page = _page(request, outage.status, title, text)
    if outage.retry_after_s is not None:
        page["Retry-After"] = str(max(1, round(outage.retry_after_s)))
    return page
