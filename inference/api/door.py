"""Who may pass under /v1: asked of every request at once, and of a long one again and again.

`app` asks before a byte of the body is read; `answers` holds `WhileAllowed` around what an engine does.
"""

import asyncio
from collections.abc import Awaitable, Callable

from accounts import actors, authentication, refusals
from accounts.principals import Principal
from inference import outages
from inference.api.cancelling import Cancelling
from inference.api.http import Request
from inference.errors import HubError, InvalidRequest, NotAuthenticated, PermissionDenied

CHECK_S = 1.0  # a right that ends does so within 2 s; half a second of them is the epoch's


async def enter(request: Request) -> Principal:
    """Raises: HubError."""
    scheme, request_id = request.scope.get("scheme", "http"), request.scope.get("request_id", "")
    try:
        who = await authentication.authenticate(
            request.pairs, request.client_ip, request.method, scheme
        )
    except authentication.Refused as refused:
        refusals.at_the_door(refused, request.pairs, request.client_ip, request_id)
        raise _refusal(refused.status, refused.message) from refused
    actors.bind(lambda: actors.of(who, request.client_ip, request_id))
    return who


def require(principal: Principal, scope: str) -> None:
    """Raises: PermissionDenied."""
    if not principal.allows(scope):
        refusals.of_scope(principal, scope)
        raise PermissionDenied(f"This needs the scope {scope}, which you do not hold.")


def _refusal(status: int, message: str) -> HubError:
    kinds: dict[int, type[HubError]] = {400: InvalidRequest, 403: PermissionDenied}
    return kinds.get(status, NotAuthenticated)(message)


class WhileAllowed(Cancelling):
    """Cancel the block when its caller's rights end; it then raises why.

    While nothing changes this makes no query, and nothing at all in a block that is over in time.
    """

    def __init__(self, request: Request, check: Callable[[Principal], Awaitable[None]]) -> None:
        super().__init__()
        self._request = request
        self._holds = check
        self._check: asyncio.Task[None] | None = None

    def _begin(self) -> None:
        self._timer = self._loop.call_later(CHECK_S, self._start)

    def _stop(self) -> None:
        self._timer.cancel()
        if self._check is not None:
            self._check.cancel()

    def _start(self) -> None:
        self._check = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        """Ask once more; while nobody can tell, because a service is away, what held holds on."""
        try:
            await self._holds(await enter(self._request))
        except HubError as error:
            self._end(error)
        except Exception as error:
            if outages.of(error) is None:
                self._end(HubError("The server had an error."))
                raise
            self._begin()
        else:
            self._begin()
