"""Who is at the browser, and what they may do; every view and panel asks here."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext as _

from accounts import principals, refusals, visits
from accounts.models import User
from accounts.principals import Principal
from inference import sight
from inference.models import Alias, Model

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)
Row = TypeVar("Row", Model, Alias)
View = Callable[Concatenate[HttpRequest, P], R]


def person(request: HttpRequest) -> User:
    """Give the signed-in user. Raises: PermissionDenied."""
    if not isinstance(request.user, User) or not request.user.is_active:
        raise PermissionDenied(_("Sign in first."))
    return request.user


def principal(request: HttpRequest) -> Principal:
    """Give the rights of the signed-in user, read once for each request."""
    found = getattr(request, "_hub_principal", None)
    if not isinstance(found, Principal):
        found = principals.of_user(person(request))
        request._hub_principal = found  # type: ignore[attr-defined] # noqa: SLF001 (our own)
    return found


def model(request: HttpRequest, name: str, scope: str = "") -> Model:
    """Find a model that is there for this person. Raises: Http404; PermissionDenied, without `scope`."""
    row = get_object_or_404(sight.models(principal(request)), name=name)
    return _changeable(request, row, scope)


def alias(request: HttpRequest, name: str, scope: str = "") -> Alias:
    """Find a name likewise."""
    rows = sight.aliases(principal(request)).select_related("target", "team")
    return _changeable(request, get_object_or_404(rows, name=name), scope)


def _changeable(request: HttpRequest, row: Row, scope: str) -> Row:
    who = principal(request)
    if scope and not who.allows_in(scope, row.team_id or 0):
        raise PermissionDenied(_("It belongs to a team in which you may not do this."))
    return row


def check(who: Principal, scope: str) -> None:
    """Raises: PermissionDenied with the missing right in words."""
    if not who.allows(scope):
        refusals.of_scope(who, scope)
        message = _("Your role (%(role)s) does not include the right “%(scope)s”.")
        raise PermissionDenied(message % {"role": who.role, "scope": scope})


def needs(scope: str) -> Callable[[View[P, R]], View[P, R]]:
    """Refuse a view to whoever does not hold `scope`."""

    def guard(view: View[P, R]) -> View[P, R]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> R:
            check(principal(request), scope)
            return view(request, *args, **kwargs)

        return cast("View[P, R]", guarded)

    return guard


def proved(view: View[P, R]) -> View[P, R]:
    """Ask who has not shown lately who they are to do so first, then lead back."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if visits.is_proved(request):
            return view(request, *args, **kwargs)
        back = request.path if request.method in {"GET", "HEAD"} else reverse("account")
        return redirect(f"{reverse('prove')}?{urlencode({'next': back})}")

    return cast("View[P, R]", guarded)


def own_target(request: HttpRequest) -> str:
    """Give the page to lead back to, if it is one of ours."""
    wanted = request.GET.get("next", "")
    ours = {request.get_host()}
    safe = url_has_allowed_host_and_scheme(wanted, ours, require_https=request.is_secure())
    return wanted if safe else "/"


def wait_words(seconds: int) -> str:
    return _("Too many attempts. Try again in %(seconds)s s.") % {"seconds": seconds}
