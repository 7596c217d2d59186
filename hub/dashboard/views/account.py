"""My account: how one signs in, where one is signed in, and the looks of the dashboard in this browser."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import applications, factors, passkeys, sign_on, tokens, visits
from accounts.backends import address_of
from accounts.forms import NewPasswordForm
from accounts.models import User
from hub.dashboard import guards, pages

SHOWN = 50  # browsers


@never_cache
@sensitive_post_parameters("old_password", "new_password1", "new_password2")
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Change the password; every session but this one ends with the old one."""
    user = guards.person(request)
    given = request.POST if request.method == "POST" else None
    form = NewPasswordForm(user, address_of(request), given)
    if given is not None and form.is_valid():
        form.save()
        update_session_auth_hash(request, user)
        visits.renew(request, user)
        messages.success(request, _("Your password is changed. Other browsers are signed out."))
        return redirect("account")
    context: dict[str, Any] = {
        "errors": form.errors,
        "held": factors.held(user),
        "visits": visits.of(user)[:SHOWN],
        "here": visits.key_of(request),
        "has_password": user.has_usable_password(),
        "passkeys": user.passkeys.all(),
        "passkeys_here": passkeys.works_at(request.get_host()),
        "passkey_place": passkeys.place(),
        **_access(user),
    }
    status = 400 if form.errors else 200
    return pages.show(
        request, "pages/account.html", _("My account"), context=context, status=status
    )


def _access(user: User) -> dict[str, Any]:
    """What else enters as this person: providers, applications, programs."""
    identities = list(user.identities.all())
    mine = {one.issuer for one in identities}
    return {
        "identities": identities,
        "providers": [one for one in sign_on.providers() if one.issuer not in mine],
        "apps": applications.with_access(user),
        "grants": tokens.listing(user)[:SHOWN],
    }
