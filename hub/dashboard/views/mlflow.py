"""MLflow's own pages at /mlflow/: a door behind our login that lets through what `tracking.rules` names.

Each team has its part of the store; a browser looks at one of them at a time (`?team=` at the entry).
"""

import json

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from accounts import audit
from accounts.models import Team, default_team_id
from accounts.principals import Principal
from hub.dashboard import guards
from hub.tracking import rules, upstream
from inference.errors import HubError, RequestTooLarge, UnsupportedMediaType
from inference.openai import bounded_json
from training import mlflow_place
from training.models import Job
from training.tracking import workspaces

MAX_BODY_BYTES = 1 << 20
CHOSEN = "mlflow_team"  # in the session
SERVER_INFO = f"{rules.API3}server-info"
WORKSPACES = f"{rules.API3}workspaces"
# What the pages ask about the server: no parts to choose from, no gateway, no assistant.
PLAIN_SERVER = {"store_type": "SqlStore", "workspaces_enabled": False, "features_enabled": {}}
SANDBOX = "default-src 'none'; frame-ancestors 'none'; sandbox"


@require_safe
async def entry(request: HttpRequest) -> HttpResponseBase:
    """The page itself."""
    return await door(request)


# MLflow's pages know nothing of our token: `_check_origin` asks instead.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST", "PATCH", "DELETE"])
async def door(request: HttpRequest, rest: str = "") -> HttpResponseBase:
    """Let through what is opened, for who may see it."""
    who = await sync_to_async(_admitted)(request)
    _check_origin(request)
    try:
        found = rules.opened(request.method or "", rest)
        rules.check_query(request.META.get("QUERY_STRING", ""))
        team = await sync_to_async(_team)(request, who, found.scope)
        if rest == SERVER_INFO:
            return JsonResponse(PLAIN_SERVER)
        return await _passed(request, found, team)
    except HubError as error:
        return _refused(error)


def _admitted(request: HttpRequest) -> Principal:
    """Refuse whoever may not before anything is looked at. Raises: PermissionDenied."""
    who = guards.principal(request)
    guards.check(who, rules.WRITE if request.method in {"PATCH", "DELETE"} else rules.READ)
    return who


def _check_origin(request: HttpRequest) -> None:
    """Browsers say of every unsafe request where it comes from. Raises: PermissionDenied."""
    if request.method in {"GET", "HEAD"}:
        return
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if request.headers.get("Origin") not in _origins(request) or site != "same-origin":
        raise PermissionDenied(_("The request came from another site."))


def _origins(request: HttpRequest) -> list[str]:
    """Give how browsers name this hub, also behind a proxy that changes the host."""
    return [f"{request.scheme}://{request.get_host()}", *settings.CSRF_TRUSTED_ORIGINS]


def _team(request: HttpRequest, who: Principal, scope: str) -> int:
    """Give the team whose part is looked at. Raises: Http404, PermissionDenied."""
    if mlflow_place.remote():
        _check_sees_every_job(who)
    if wanted := request.GET.get("team", ""):
        found = Team.objects.filter(name=wanted).first()
        if found is None or not _sees(who, found.pk):
            raise Http404
        request.session[CHOSEN] = found.pk
    chosen = request.session.get(CHOSEN)
    team = chosen if isinstance(chosen, int) and _sees(who, chosen) else None
    team = team or who.team_id or default_team_id()
    if not _sees(who, team):
        raise Http404
    if not who.allows_in(scope, team):
        raise PermissionDenied(_("It belongs to a team in which you may not do this."))
    return team


def _sees(who: Principal, team: int) -> bool:
    return team in who.teams or who.sees_all


def _check_sees_every_job(who: Principal) -> None:
    """A remote server keeps the runs of all teams together. Raises: PermissionDenied."""
    if not who.sees_all and Job.objects.exclude(team_id__in=who.teams).exists():
        raise PermissionDenied(
            _("The MLflow server has runs of teams that you are not in; open the jobs instead.")
        )


# --- passing on -----------------------------------------------------------------------------------


async def _passed(request: HttpRequest, found: rules.Opened, team: int) -> HttpResponseBase:
    """Raises: HubError."""
    method = request.method or ""
    body = _body(request)
    if found.kind == "note":
        rules.check_note(method, found.path, bounded_json.parse_object(body))
    if found.kind == "page":
        await _ensure_part(team)
    query = "" if found.kind == "page" else request.META.get("QUERY_STRING", "")
    headers = {name.lower(): value for name, value in request.headers.items()}
    answer = await upstream.ask(method, found.path, query, headers, body, team)
    if found.kind == "note" and answer.status < 400:
        await sync_to_async(_record)(found.path, body)
    return await _response(request, found, answer)


def _body(request: HttpRequest) -> bytes:
    """Raises: RequestTooLarge, UnsupportedMediaType."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
        raise RequestTooLarge(f"The body is over the limit of {MAX_BODY_BYTES} bytes.")
    body: bytes = request.body
    if len(body) > MAX_BODY_BYTES:
        raise RequestTooLarge(f"The body is over the limit of {MAX_BODY_BYTES} bytes.")
    if body and request.content_type != "application/json":
        raise UnsupportedMediaType("The body is JSON here.")
    return body


async def _ensure_part(team: int) -> None:
    """Make a team's part before its first run has. Raises: Unavailable."""
    if not mlflow_place.remote():
        body = json.dumps({"name": workspaces.name(team)}).encode()
        headers = {"content-type": "application/json"}
        answer = await upstream.ask("POST", WORKSPACES, "", headers, body, None)
        await answer.close()


def _record(path: str, body: bytes) -> None:
    fields = bounded_json.parse_object(body)
    name = str(fields.get("name") or fields.get("run_id") or fields.get("experiment_id") or "")
    audit.record("mlflow.note", "mlflow", name, after={"route": path, **fields})


async def _response(
    request: HttpRequest, found: rules.Opened, answer: upstream.Answer
) -> HttpResponseBase:
    """Raises: Unavailable."""
    if answer.status >= 300 and answer.status != 304:
        return await _failed(answer)
    response: HttpResponseBase
    if request.method == "HEAD" or answer.status == 304:
        await answer.close()
        response = HttpResponse(status=answer.status)
    else:
        response = StreamingHttpResponse(answer.chunks(), status=answer.status)
    for name, value in answer.headers.items():
        response[name] = value
    response["Content-Security-Policy"] = _policy(request) if found.kind == "page" else SANDBOX
    if found.kind == "file":
        response["Content-Disposition"] = "attachment"
    if found.kind != "static":
        response["Cache-Control"] = "no-store, private"
    return response


async def _failed(answer: upstream.Answer) -> HttpResponse:
    """Say MLflow's own code and the first line of its words: what follows tells of its insides."""
    status = answer.status if 400 <= answer.status < 500 else 502
    told: dict[str, str] = {}
    try:
        fields = bounded_json.parse_object(await answer.read(MAX_BODY_BYTES))
        told = {name: str(fields.get(name, "")) for name in ("error_code", "message")}
    except HubError:
        told = {"error_code": "INTERNAL_ERROR", "message": ""}
    words = told["message"].partition("\n")[0][:500] if status < 500 else ""
    return JsonResponse(
        {"error_code": told["error_code"], "message": words or "MLflow could not answer this."},
        status=status,
    )


def _policy(request: HttpRequest) -> str:
    """What MLflow's pages may do: read below the door, run its own scripts, send nothing elsewhere."""
    places = [f"{origin}{mlflow_place.PREFIX}/" for origin in _origins(request)]
    here, static = " ".join(places), " ".join(f"{place}static-files/" for place in places)
    parts = {
        "default-src": "'none'",
        "script-src": static,
        "style-src": f"{static} 'unsafe-inline'",
        "img-src": f"{here} data: blob:",
        "font-src": f"{static} data:",
        "connect-src": here,
        "worker-src": static,
        "manifest-src": static,
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _refused(error: HubError) -> HttpResponse:
    """In the form that MLflow's pages read."""
    told = {"error_code": error.code.upper(), "message": error.sentence}
    answer = JsonResponse(told, status=error.status)
    if error.retry_after_s is not None:
        answer["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return answer
