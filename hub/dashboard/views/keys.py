"""Keys: list, make, show once, revoke."""

import datetime as dt
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import keys as key_room
from accounts import principals, scopes
from accounts.keys import KeyRefused
from accounts.models import ApiKey, User
from hub.dashboard import guards, pages, snippets

LIFETIMES_D = (0, 30, 90, 365)  # 0: no end
SHOWN = 500


@require_safe
@guards.needs("keys:manage")
def keys(request: HttpRequest) -> HttpResponse:
    """List the keys that this person may see, newest first."""
    who = guards.principal(request)
    found = list(key_room.listing(who).order_by("-created_at")[:SHOWN])
    now = timezone.now()
    context: dict[str, Any] = {
        "active": [key for key in found if not _ended(key, now)],
        "ended": [key for key in found if _ended(key, now)],
        "shows_owner": who.allows("users:manage"),
    }
    return pages.show(request, "pages/keys.html", _("Keys"), context=context)


def _ended(key: ApiKey, now: dt.datetime) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("keys:manage")
def new(request: HttpRequest) -> HttpResponse:
    """Show the wizard, or make the key and show it this one time."""
    if request.method != "POST":
        return _wizard(request, wanted=list(scopes.DEFAULT))
    try:
        key, plaintext = _issue(request)
    except KeyRefused as error:
        return _wizard(request, wanted=request.POST.getlist("scopes"), error=error)
    context: dict[str, Any] = {"key": key, "plaintext": plaintext}
    context["snippets"] = snippets.first_chat(request, plaintext)
    return pages.show(request, "pages/key_shown.html", _("Your new key"), context=context)


def _issue(request: HttpRequest) -> tuple[ApiKey, str]:
    """Raises: KeyRefused."""
    return key_room.issue(
        guards.person(request),
        request.POST.get("name", ""),
        request.POST.getlist("scopes"),
        by=guards.principal(request),
        expires_at=_expiry(request.POST.get("lifetime", "")),
        models=_names(request.POST.get("models", "")),
        networks=_names(request.POST.get("networks", "")),
    )


def _names(text: str) -> list[str]:
    return [name for name in text.replace(",", " ").split() if name]


def _expiry(days: str) -> dt.datetime | None:
    """Raises: KeyRefused."""
    if days not in {str(number) for number in LIFETIMES_D}:
        raise KeyRefused(_("Choose how long the key is to live."), "lifetime")
    return timezone.now() + dt.timedelta(days=int(days)) if int(days) else None


def _wizard(
    request: HttpRequest, wanted: list[str], error: KeyRefused | None = None
) -> HttpResponse:
    who = guards.principal(request)
    context: dict[str, Any] = {
        "offered": [name for name in scopes.OFFERED if who.allows(name)],
        "wanted": wanted,
        "error": error,
        "lifetimes": LIFETIMES_D,
        "given": request.POST,
    }
    page = pages.show(request, "pages/key_new.html", _("New key"), context=context)
    page.status_code = 400 if error else 200
    return page


@require_POST
@guards.needs("keys:manage")
def revoke(request: HttpRequest, public_id: str) -> HttpResponse:
    who = guards.principal(request)
    key = key_room.listing(who).filter(public_id=public_id).first()
    if key is None:
        raise Http404
    try:
        key_room.revoke(key, who)
    except KeyRefused as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("The key “%(name)s” is revoked.") % {"name": key.name})
    return redirect("keys")


def issue_first(owner: User) -> str:
    """Make the key of the set-up page and give its plaintext. Raises: KeyRefused."""
    name = _("First key")
    return key_room.issue(owner, name, by=principals.of_user(owner))[1]
