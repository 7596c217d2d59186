"""Keys: list, make, show once, rotate, revoke."""

import datetime as dt
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import keys as key_room
from accounts import limit_rows, principals, scopes, service_accounts, teams
from accounts.key_rules import KeyRefused
from accounts.models import ApiKey, User
from hub.dashboard import guards, limits_form, pages, snippets

LIFETIMES_D = (0, 30, 90, 365)  # 0: no end
OVERLAPS_H = (24, 0, 1, 168, 720)  # how long a rotated key works on
LIMITS = ("requests_per_minute", "tokens_per_hour", "concurrent_requests")
SHOWN = 500


@require_safe
@guards.needs("keys:read")
def keys(request: HttpRequest) -> HttpResponse:
    """List the keys that this person may see, newest first."""
    who = guards.principal(request)
    found = list(key_room.listing(who).order_by("-created_at")[:SHOWN])
    now = timezone.now()
    context: dict[str, Any] = {
        "active": [key for key in found if not _ended(key, now)],
        "ended": [key for key in found if _ended(key, now)],
        "shows_owner": who.allows("admin:users") or bool(who.manages),
        "overlaps": OVERLAPS_H,
    }
    return pages.show(request, "pages/keys.html", _("Keys"), context=context)


def _ended(key: ApiKey, now: dt.datetime) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("keys:write")
def new(request: HttpRequest) -> HttpResponse:
    """Show the wizard, or make the key and show it this one time."""
    if request.method != "POST":
        return _wizard(request, wanted=sorted(scopes.expand(scopes.DEFAULT)))
    try:
        with transaction.atomic():
            key, plaintext = _issue(request)
            _limit(request, key)
    except (KeyRefused, limit_rows.LimitRefused) as error:
        return _wizard(request, wanted=request.POST.getlist("scopes"), error=error)
    return _shown(request, key, plaintext)


def _shown(request: HttpRequest, key: ApiKey, plaintext: str) -> HttpResponse:
    context: dict[str, Any] = {"key": key, "plaintext": plaintext}
    context["snippets"] = snippets.first_chat(request, plaintext)
    return pages.show(request, "pages/key_shown.html", _("Your new key"), context=context)


def _issue(request: HttpRequest) -> tuple[ApiKey, str]:
    """Raises: KeyRefused."""
    given, who = request.POST, guards.principal(request)
    return key_room.issue(
        _owner(request),
        given.get("name", ""),
        given.getlist("scopes"),
        by=who,
        team=teams.listing(who).filter(name=given.get("team", "")).first(),
        expires_at=_expiry(request.POST.get("lifetime", "")),
        models=_names(request.POST.get("models", "")),
        networks=_names(request.POST.get("networks", "")),
    )


def _owner(request: HttpRequest) -> User:
    """Give who is to own the key: this person, or a service account that they keep."""
    name = request.POST.get("user") or request.GET.get("user")
    if not name:
        return guards.person(request)
    rows = service_accounts.listing(guards.principal(request))
    return get_object_or_404(rows, username=name)


def _limit(request: HttpRequest, key: ApiKey) -> None:
    """Give the key limits of its own, where this person may. Raises: LimitRefused."""
    who, given = guards.principal(request), limits_form.values(request.POST)
    wanted = {name: value for name, value in given.items() if value is not None}
    if wanted and limit_rows.may_edit(who):
        limit_rows.put(limit_rows.about(who, "key", key.public_id), wanted)


def _names(text: str) -> list[str]:
    return [name for name in text.replace(",", " ").split() if name]


def _expiry(days: str) -> dt.datetime | None:
    """Raises: KeyRefused."""
    if days not in {str(number) for number in LIFETIMES_D}:
        raise KeyRefused(_("Choose how long the key is to live."), "lifetime")
    return timezone.now() + dt.timedelta(days=int(days)) if int(days) else None


def _wizard(
    request: HttpRequest,
    wanted: list[str],
    error: KeyRefused | limit_rows.LimitRefused | None = None,
) -> HttpResponse:
    who, owner = guards.principal(request), _owner(request)
    places = [one.team for one in owner.memberships.select_related("team")]
    context: dict[str, Any] = {
        "offered": [name for name in scopes.OFFERED if who.allows(name)],
        "wanted": wanted,
        "error": error,
        "lifetimes": LIFETIMES_D,
        "given": request.POST,
        "owner": owner,
        "teams": places,
        "limits": LIMITS if limit_rows.may_edit(who) else (),
    }
    status = 400 if error else 200
    return pages.show(request, "pages/key_new.html", _("New key"), context=context, status=status)


@never_cache
@require_POST
@guards.needs("keys:write")
def rotate(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make a key in place of this one and show it this one time."""
    hours = request.POST.get("overlap", "")
    overlap = dt.timedelta(hours=int(hours) if hours in map(str, OVERLAPS_H) else 0)
    try:
        key, plaintext = key_room.rotate(
            _named(request, public_id), guards.principal(request), overlap
        )
    except KeyRefused as error:
        messages.error(request, error.message)
        return redirect("keys")
    return _shown(request, key, plaintext)


def _named(request: HttpRequest, public_id: str) -> ApiKey:
    return get_object_or_404(key_room.listing(guards.principal(request)), public_id=public_id)


@require_POST
@guards.needs("keys:write")
def revoke(request: HttpRequest, public_id: str) -> HttpResponse:
    who, key = guards.principal(request), _named(request, public_id)
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
