"""The management API's one way to answer errors: OpenAI's envelope, whatever was raised."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions

from accounts.authentication import Refused
from accounts.denials import InTheWay, NotAllowed, Refusal
from accounts.key_rules import NotHeld
from accounts.limit_rows import NobodyThere
from accounts.limits import LimitReached
from accounts.usage import NotYours
from inference import errors, outages
from inference.errors import HubError

logger = logging.getLogger(__name__)

NOTHING = "There is nothing here, or it is not yours to see."
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
    return answer(hub_error)


def answer(error: HubError) -> JsonResponse:
    return JsonResponse(body_of(error), status=error.status, headers=_headers(error))


def translate(error: BaseException) -> HubError:
    """Name in the hub's own tree what DRF, Django or accounts raised."""
    if isinstance(error, HubError):
        return error
    if isinstance(error, exceptions.APIException):
        return _of_drf(error)
    if isinstance(error, Refused) and error.kind == "factor":
        return errors.SecondFactorNeeded(error.message, param="code")
    if isinstance(error, Refused):
        return BY_STATUS[error.status](error.message)
    return _of_accounts(error) or _of_django(error)


def _of_accounts(error: BaseException) -> HubError | None:
    if isinstance(error, Refusal):
        return _of_refusal(error)
    if isinstance(error, LimitReached):
        return errors.RateLimited(str(error), retry_after_s=error.retry_after_s)
    if isinstance(error, NotYours):
        return errors.PermissionDenied("Everybody's use is seen with the scope usage:all.")
    return errors.NotFound(NOTHING) if isinstance(error, NobodyThere) else None


def _of_refusal(error: Refusal) -> HubError:
    kinds: dict[type[Exception], type[HubError]] = {
        NotHeld: errors.PermissionDenied,
        NotAllowed: errors.PermissionDenied,
        InTheWay: errors.Conflict,
    }
    kind = kinds.get(type(error), errors.InvalidValue)
    return kind(error.message, param=error.field or None)


def _of_drf(error: exceptions.APIException) -> HubError:
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    if isinstance(error, exceptions.Throttled):
        wait_s = getattr(error, "wait", None)
        return errors.RateLimited("Too many calls; try again later.", retry_after_s=wait_s)
    return BY_STATUS.get(error.status_code, HubError)(str(error.detail))


def _of_django(error: BaseException) -> HubError:
    if isinstance(error, Http404):
        return errors.NotFound(NOTHING)
    if isinstance(error, PermissionDenied):
        return errors.PermissionDenied("You may not do this.")
    if (outage := outages.of(error)) is not None:
        return outage
    return HubError("The server had an error; its log says more.")


def body_of(error: HubError) -> dict[str, Any]:
    """Return OpenAI's envelope: always all four keys, and details where there are figures."""
    body = {
        "message": error.sentence,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return {"error": body if error.details is None else {**body, "details": error.details}}


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
