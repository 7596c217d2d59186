"""The bare ASGI application of `/v1/*`: the door, the routes, and errors as OpenAI writes them.

Mounted before Django: a request costs no thread, no middleware and, when warm, no query.
"""

import logging

from accounts.principals import Principal
from inference import metrics, outages
from inference.api import (
    audio,
    chat,
    classify,
    completions,
    cors,
    door,
    embeddings,
    models,
    noting,
)
from inference.api.call import Call
from inference.api.http import ClientLeft, Receive, Reply, Request, Scope, Send
from inference.api.routing import Action, Found, Handler, Route, Table
from inference.errors import HubError, MethodNotAllowed, NotFound

UNKNOWN = "unknown"  # in metrics, for paths that are none of ours
log = logging.getLogger(__name__)


def _use(path: str, scope: str, handler: Handler) -> Route:
    return Route(path, {"POST": Action(scope, handler)}, is_counted=True)


ROUTES = Table(
    _use("/v1/chat/completions", "inference:chat", chat.create),
    _use("/v1/completions", "inference:completions", completions.create),
    _use("/v1/embeddings", "inference:embeddings", embeddings.create),
    _use("/v1/classify", "inference:classify", classify.create),
    _use("/v1/audio/transcriptions", "inference:audio", audio.transcribe),
    _use("/v1/audio/translations", "inference:audio", audio.translate),
    Route("/v1/models", {"GET": Action("models:read", models.listing)}),
    Route("/v1/models/{model*}", {"GET": Action("models:read", models.retrieve)}),
)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request under /v1."""
    request = Request(scope, receive)
    reply = Reply(request, send)
    if request.method == "OPTIONS":
        await reply.empty(cors.preflight(request.headers))
        return
    found = ROUTES.find(request.path)
    endpoint = found.route.label if found else UNKNOWN
    with metrics.RUNNING.labels(endpoint).track_inprogress():
        model = await _answer(request, reply, found)
    metrics.DURATION.labels(endpoint, model).observe(request.elapsed_s)
    if reply.started:
        metrics.REQUESTS.labels(endpoint, model, str(reply.status)).inc()
    else:
        metrics.LEFT.labels(endpoint, model).inc()


async def _answer(request: Request, reply: Reply, found: Found | None) -> str:
    """Answer whatever happens; give the model's name for the metrics."""
    call: Call | None = None
    principal: Principal | None = None
    code = noting.CODE_OF_LEFT  # unless it comes to another end
    try:
        principal = await door.enter(request)
        request.note(user_id=principal.user_id, key_id=principal.key_id)
        call = Call(request, reply, principal)
        if found is None or not found.counts(request.method):
            await call.counted()
        await _handler(call, found)(call)
        code = call.failed
    except ClientLeft:
        log.info("client left", extra={"path": request.path})
    except HubError as error:
        code = error.code
        await _refuse(reply, error if call is None else call.wait.told(error))
    except Exception as error:  # noqa: BLE001 (outermost: everything becomes an answer)
        refusal = _translated(error, request)
        code = refusal.code
        await _refuse(reply, refusal)
    finally:
        if principal is not None and found is not None and found.counts(request.method):
            noting.note(request, reply, principal, call, code)
    if call is None:
        return metrics.NO_MODEL
    if call.model != metrics.NO_MODEL:
        request.note(model=call.model, **call.meter.counts())
    return call.model


def _handler(call: Call, found: Found | None) -> Handler:
    """Give what answers, once the caller may; the call learns scope and parameters of the path.

    Raises: NotFound, MethodNotAllowed, PermissionDenied.
    """
    request, shown = call.request, call.request.path[:200]
    if found is None:
        raise NotFound(f"Unknown request URL: {request.method} {shown}.")
    route, call.args = found
    action = route.actions.get("GET" if request.method == "HEAD" else request.method)
    if action is None:
        call.reply.add({"allow": ", ".join(route.allowed)})
        answered = " and ".join(route.actions)
        raise MethodNotAllowed(f"{shown} answers {answered}, not {request.method}.")
    call.scope = action.scope
    door.require(call.principal, action.scope)
    return action.handler


async def _refuse(reply: Reply, error: HubError) -> None:
    if error.status >= 500:
        log.warning("request failed", extra={"code": error.code, "reason": error.message})
    if not reply.started:
        await reply.error(error)


def _translated(error: Exception, request: Request) -> HubError:
    """Name what is away; of anything else tell the log everything and the client nothing."""
    if (outage := outages.of(error)) is not None:
        log.error("a service is away", exc_info=error)
        return outage
    log.error("unexpected error", exc_info=error, extra={"failed_request": request.id})
    return HubError(f"The server had an error. Please quote request {request.id}.")
