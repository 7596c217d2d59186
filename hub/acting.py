"""Who acts in a request to Django, for the audit log: named by a middleware, looked up when asked."""

from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from accounts import actors, principals
from accounts.backends import address_of
from accounts.models import User


def _bind(request: HttpRequest) -> None:
    address, request_id = address_of(request), getattr(request, "scope", {}).get("request_id", "")

    def visitor() -> actors.Actor:
        if not isinstance(request.user, User):
            return actors.nobody(address, request_id)
        return actors.of(principals.of_user(request.user), address, request_id)

    actors.bind(visitor)


@sync_and_async_middleware
def name_actor(get_response: Any) -> Any:
    """Each request runs in a context of its own, but for a thread that serves one after another."""
    if iscoroutinefunction(get_response):

        async def name_async(request: HttpRequest) -> HttpResponseBase:
            _bind(request)
            try:
                return cast("HttpResponseBase", await get_response(request))
            finally:
                actors.bind(None)

        return name_async

    def name(request: HttpRequest) -> HttpResponseBase:
        _bind(request)
        try:
            return cast("HttpResponseBase", get_response(request))
        finally:
            actors.bind(None)

    return name
