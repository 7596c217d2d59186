"""The management API's one way to answer errors: OpenAI's envelope, whatever was raised."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions

from accounts.authentication import Refused
from accounts.keys import KeyRefused, NotHeld
from inference import errors, outages
from inference.errors import HubError

logger = logging.getLogger(__name__)

BY_STATUS: dict[int, type[HubError]] = {
    400: errors.InvalidRequest,
    401: errors.NotAuthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.InvalidRequest,
    413: errors.RequestTooLarge,
    415: errors.UnsupportedMediaType,
    429: errors.RateLimited,
}


def handle(error: Exception, _context: dict[str, Any]) -> JsonResponse:
    """DRF's EXCEPTION_HANDLER; always JSON, whatever the view renders."""
    hub_error = translate(error)
    if hub_error.status >= 500:
        logger.error("management call failed", exc_info=error)
    return JsonResponse(body_of(hub_error), status=hub_error.status, headers=_headers(hub_error))


def translate(error: Exception) -> HubError:
    """Name in the hub's own tree what DRF, Django or accounts raised."""
    if isinstance(error, HubError):
        return error
    if isinstance(error, exceptions.APIException):
        return _of_drf(error)
    if isinstance(error, Refused):
        return BY_STATUS[error.status](error.message)
    if isinstance(error, KeyRefused):
        kind = errors.PermissionDenied if isinstance(error, NotHeld) else errors.InvalidValue
        return kind(error.message, param=error.field)
    return _of_django(error)


def _of_drf(error: exceptions.APIException) -> HubError:
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    if isinstance(error, exceptions.Throttled):
        wait_s = getattr(error, "wait", None)
        return errors.RateLimited("Too many calls; try again later.", retry_after_s=wait_s)
    return BY_STATUS.get(error.status_code, HubError)(str(error.detail))


def _of_django(error: Exception) -> HubError:
    if isinstance(error, Http404):
        return errors.NotFound("There is nothing here, or it is not yours to see.")
    if isinstance(error, PermissionDenied):
        return errors.PermissionDenied("You may not do this.")
    if (outage := outages.of(error)) is not None:
        return outage
    return HubError("The server had an error; its log says more.")


def body_of(error: HubError) -> dict[str, Any]:
    """Return OpenAI's envelope: always all four keys."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def _headers(error: HubError) -> dict[str, str]:
    headers = {"WWW-Authenticate": 'Bearer realm="hub"'} if error.status == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return headers


def _invalid(error: exceptions.ValidationError) -> HubError:
    """Tell the first thing that is wrong, and where."""
    place = ""
    detail: Any = error.detail
    codes: Any = error.get_codes()
    while isinstance(detail, dict | list) and detail:
        at: Any = next(iter(detail)) if isinstance(detail, dict) else 0
        if isinstance(detail, dict) and at != "non_field_errors":
            place = f"{place}.{at}" if place else str(at)
        detail = detail[at]
        codes = codes[at] if isinstance(codes, dict | list) else codes
    kinds = {"unknown": errors.UnknownParameter, "required": errors.MissingParameter}
    message = f"{place}: {detail}" if place else str(detail)
    return kinds.get(str(codes), errors.InvalidValue)(message, param=place or None)
