"""Third-party applications: registered, shown once with their secret, removed; and what people let them do."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import applications, scopes, tokens
from accounts.applications import AppRefused, Wanted
from accounts.models import Application, User
from hub.dashboard import guards, pages


@require_safe
@guards.needs("keys:write")
def apps(request: HttpRequest) -> HttpResponse:
    """List one's own applications; all of them for who runs the hub."""
    who = guards.principal(request)
    context: dict[str, Any] = {
        "apps": applications.listing(who),
        "shows_owner": who.allows("admin:system"),
    }
    return pages.show(request, "pages/apps.html", _("Applications"), context=context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("keys:write")
@guards.proved
def new(request: HttpRequest) -> HttpResponse:
    """Register one and show its secret this one time."""
    who = guards.principal(request)
    error: AppRefused | None = None
    if request.method == "POST":
        try:
            app, secret = applications.register(_wanted(request), who)
        except AppRefused as refused:
            error = refused
        else:
            shown = {"app": app, "plaintext": secret}
            return pages.show(request, "pages/app_shown.html", app.name, context=shown)
    context: dict[str, Any] = {
        "offered": [name for name in scopes.OFFERED if who.allows(name)],
        "wanted": request.POST.getlist("scopes") or ["models:read"],
        "services": _services() if who.allows("admin:users") else [],
        "given": request.POST,
        "error": error,
    }
    title, status = _("New application"), 400 if error else 200
    return pages.show(request, "pages/app_new.html", title, context=context, status=status)


def _services() -> list[User]:
    return list(User.objects.filter(kind=User.Kind.SERVICE, is_active=True).order_by("username"))


def _wanted(request: HttpRequest) -> Wanted:
    given = request.POST
    name = given.get("service", "")
    service = next((one for one in _services() if one.username == name), None) if name else None
    return Wanted(
        name=given.get("name", ""),
        redirect_uris=given.get("redirect_uris", "").split(),
        scopes=[one for one in given.getlist("scopes") if one in scopes.OFFERED],
        is_public=given.get("kind") == "public",
        service=service,
    )


@require_POST
@guards.needs("keys:write")
@guards.proved
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    app = applications.listing(guards.principal(request)).filter(pk=pk).first()
    if app is None:
        raise Http404
    applications.remove(app)
    messages.success(request, _("“%(name)s” is removed.") % {"name": app.name})
    return redirect("apps")


@require_POST
def end_access(request: HttpRequest, pk: int) -> HttpResponse:
    """Take back what one let an application do."""
    user = guards.person(request)
    app: Application | None = applications.with_access(user).filter(pk=pk).first()
    if app is None:
        raise Http404
    applications.end_access(app, user)
    messages.success(request, _("“%(name)s” has no access any more.") % {"name": app.name})
    return redirect("account")


@require_POST
def end_grant(request: HttpRequest, public_id: str) -> HttpResponse:
    """Sign a program out."""
    grant = tokens.listing(guards.person(request)).filter(public_id=public_id).first()
    if grant is None:
        raise Http404
    tokens.end([grant])
    messages.success(request, _("That program is signed out."))
    return redirect("account")
