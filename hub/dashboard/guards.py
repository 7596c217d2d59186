"""Who is at the browser, and what they may do; every view and panel asks here."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from accounts import principals
from accounts.models import User
from accounts.principals import Principal

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)
View = Callable[Concatenate[HttpRequest, P], R]


def person(request: HttpRequest) -> User:
    """Give the signed-in user. Raises: PermissionDenied."""
    if not isinstance(request.user, User) or not request.user.is_active:
        raise PermissionDenied(_("Sign in first."))
    return request.user


def principal(request: HttpRequest) -> Principal:
    return principals.of_user(person(request))


def check(who: Principal, scope: str) -> None:
    """Raises: PermissionDenied with the missing right in words."""
    if not who.allows(scope):
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
