"""The bare ASGI application of `/v1/*`: the door, the routes, and errors as OpenAI writes them.

Mounted before Django: a request costs no thread, no middleware and, when warm, no query.
"""

import logging
from collections.abc import Awaitable, Callable

from accounts.principals import Principal
from inference import metrics, outages
from inference.api import audio, chat, classify, completions, cors, door, embeddings, models
from inference.api.call import Call
from inference.api.http import ClientLeft, Receive, Reply, Request, Scope, Send
from inference.errors import HubError, MethodNotAllowed, NotFound

Handler = Callable[[Call], Awaitable[None]]
log = logging.getLogger(__name__)

# path: (method, scope that is needed, handler)
ROUTES: dict[str, tuple[str, str, Handler]] = {
    "/v1/chat/completions": ("POST", "inference", chat.create),
    "/v1/completions": ("POST", "inference", completions.create),
    "/v1/embeddings": ("POST", "inference", embeddings.create),
    "/v1/classify": ("POST", "inference", classify.create),
    "/v1/audio/transcriptions": ("POST", "inference", audio.transcribe),
    "/v1/audio/translations": ("POST", "inference", audio.translate),
    "/v1/models": ("GET", "models:read", models.listing),
}
MODEL_ROUTE = ("GET", "models:read", models.retrieve)
MODEL_PREFIX = "/v1/models/"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request under /v1."""
    request = Request(scope, receive)
    reply = Reply(request, send)
    if request.method == "OPTIONS":
        await reply.empty(cors.preflight(request.headers))
        return
    endpoint = _endpoint(request.path)
    with metrics.RUNNING.labels(endpoint).track_inprogress():
        model = await _answer(request, reply)
    metrics.DURATION.labels(endpoint, model).observe(request.elapsed_s)
    if reply.started:
        metrics.REQUESTS.labels(endpoint, model, str(reply.status)).inc()
    else:
        metrics.LEFT.labels(endpoint, model).inc()


async def _answer(request: Request, reply: Reply) -> str:
    """Answer whatever happens; give the model's name for the metrics."""
    call: Call | None = None
    try:
        principal = await door.enter(request)
        request.note(user_id=principal.user_id, key_id=principal.key_id)
        call = Call(request, reply, principal)
        await _handler(request, reply, principal)(call)
    except ClientLeft:
        log.info("client left", extra={"path": request.path})
    except HubError as error:
        await _refuse(reply, error)
    except Exception as error:  # noqa: BLE001 (outermost: everything becomes an answer)
        await _refuse(reply, _translated(error, request))
    if call is None:
        return metrics.NO_MODEL
    if call.model != metrics.NO_MODEL:
        request.note(model=call.model, **call.meter.counts())
    return call.model


def _handler(request: Request, reply: Reply, principal: Principal) -> Handler:
    """Raises: NotFound, MethodNotAllowed, PermissionDenied."""
    route = ROUTES.get(request.path)
    if route is None and request.path.startswith(MODEL_PREFIX):
        route = MODEL_ROUTE
    if route is None:
        raise NotFound(f"Unknown request URL: {request.method} {request.path[:200]}.")
    method, scope, handler = route
    allowed = ("GET", "HEAD") if method == "GET" else (method,)
    if request.method not in allowed:
        reply.add({"allow": ", ".join((*allowed, "OPTIONS"))})
        raise MethodNotAllowed(f"{request.path[:200]} answers {method}, not {request.method}.")
    door.require(principal, scope)
    return handler


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


def _endpoint(path: str) -> str:
    if path in ROUTES:
        return path.removeprefix("/v1/")
    return "models/id" if path.startswith(MODEL_PREFIX) else "unknown"
