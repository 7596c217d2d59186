"""Usage: who used what and when, as a page and as a file; and the limits of one of them."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import limit_rows
from accounts import usage as reads
from accounts.limit_rows import About, LimitRefused, NobodyThere
from hub.dashboard import guards, limits_form, pages
from hub.dashboard.usage_page import UsagePage

READ = "usage:read"


@require_safe
@guards.needs(READ)
def usage(request: HttpRequest) -> HttpResponse:
    """Show the use of a range of time."""
    shown = UsagePage(guards.principal(request), request.GET.dict())
    return pages.show(request, "pages/usage.html", _("Usage"), context={"usage": shown})


@require_safe
@guards.needs(READ)
def usage_csv(request: HttpRequest) -> HttpResponse:
    """Give the lines of the page's table, all of them, as a file."""
    shown = UsagePage(guards.principal(request), request.GET.dict())
    text = reads.as_csv(shown.who, shown.wish)
    name = f"usage-{shown.now:%Y-%m-%d}-by-{shown.group}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)


@require_safe
@guards.needs(limit_rows.SCOPE)
def limits(request: HttpRequest) -> HttpResponse:
    """Show everyone's limits and every exception."""
    context: dict[str, Any] = {
        "everyone": limits_form.of(limit_rows.about(guards.principal(request), "everyone")),
        "rows": limits_form.listing(),
    }
    return pages.show(request, "pages/limits.html", _("Limits"), context=context)


@require_safe
@guards.needs(limit_rows.SCOPE)
def limit(request: HttpRequest, kind: str, name: str) -> HttpResponse:
    """Show the limits of one key, person, team or model."""
    context: dict[str, Any] = {"limits": limits_form.of(_about(request, kind, name))}
    return pages.show(request, "pages/limit.html", _("Limits"), context=context)


@require_POST
@guards.needs(limit_rows.SCOPE)
def limit_save(request: HttpRequest, kind: str, name: str = "") -> HttpResponse:
    """Keep the limits of the form, or say on it what is wrong."""
    about = _about(request, kind, name)
    try:
        limit_rows.put(about, limits_form.values(request.POST))
    except LimitRefused as error:
        if error.field not in request.POST:  # no field of the form is at fault
            messages.error(request, error.message)
        context = {"limits": limits_form.of(about, request.POST, error.field)}
        return pages.show(request, "pages/limit.html", _("Limits"), context=context, status=400)
    messages.success(request, _("The limits are kept. They hold within two seconds."))
    back = request.POST.get("back", "")
    is_ours = url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_ours and back.startswith("/") else "limits")


def _about(request: HttpRequest, kind: str, name: str) -> About:
    """Raises: Http404."""
    try:
        return limit_rows.about(guards.principal(request), kind, name)
    except NobodyThere as error:
        raise Http404 from error
