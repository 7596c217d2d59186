"""/healthz and /readyz: what an orchestrator asks. Both answer without credentials: they tell
names of parts and states, no addresses and no data.
"""

import asyncio
import errno
import shutil
import tempfile
from collections.abc import Awaitable, Callable

import redis.asyncio as redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.db.utils import Error as DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from inference import router, starters
from inference.errors import HubError

CHECK_TIMEOUT_S = 3.0
LEAST_FREE_BYTES = 64 * 2**20

Check = Callable[[], Awaitable[str]]


@csrf_exempt  # another method is told so, and not that a token is missing
@login_not_required
@require_safe
async def healthz(_request: HttpRequest) -> JsonResponse:
    """The process is alive and its event loop turns."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@login_not_required
@require_safe
async def readyz(_request: HttpRequest) -> JsonResponse:
    """Say for each part whether requests can be served, and if not, why."""
    found = await reasons()
    ready = not any(found.values())
    parts = {name: {"ok": not reason, "reason": reason} for name, reason in found.items()}
    status = "ok" if ready else "unavailable"
    return JsonResponse({"status": status, "checks": parts}, status=200 if ready else 503)


async def reasons() -> dict[str, str]:
    """Give for each part why it is not ready; empty where it is."""
    return dict(zip(CHECKS, await asyncio.gather(*map(_run, CHECKS.values())), strict=True))


async def _run(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:.0f} s"


async def database_reason() -> str:
    """Give an empty reason when the database answers."""
    try:
        await sync_to_async(_select_one)()
    except DatabaseError as error:
        return f"the database does not answer ({type(error).__name__})"
    return ""


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def disk_reason() -> str:
    """Give an empty reason while the data folder can be written and has room."""
    return await asyncio.to_thread(_disk_reason)


def _disk_reason() -> str:
    try:
        with tempfile.TemporaryFile(dir=settings.HUB_DATA) as probe:
            probe.write(b"0" * 4096)
        free = shutil.disk_usage(settings.HUB_DATA).free
    except OSError as error:
        return (
            f"the data folder cannot be written ({errno.errorcode.get(error.errno or 0, 'error')})"
        )
    if free < LEAST_FREE_BYTES:
        return f"the disk is almost full: {free // 2**20} MiB are free"
    return ""


async def redis_reason() -> str:
    try:
        async with redis.from_url(settings.HUB_REDIS_URL) as client:
            await client.ping()
    except (redis.RedisError, OSError) as error:
        return f"Redis does not answer ({type(error).__name__})"
    return ""


async def node_reason() -> str:
    try:
        await router.snapshot()
    except HubError as error:
        return f"the node does not answer ({error.code})"
    return ""


async def starters_reason() -> str:
    """Files that come by conversion are prepared in the background and need not be there."""
    root, chosen = settings.HUB_MODELS, starters.chosen(settings.HUB_MODEL_SIZE)
    missing = [
        starter.name
        for starter in chosen
        if not starter.converted_from and not starter.is_present(root)
    ]
    return f"starter models are missing: {', '.join(missing)}" if missing else ""


CHECKS: dict[str, Check] = {
    "disk": disk_reason,
    "database": database_reason,
    "redis": redis_reason,
    "node": node_reason,
    "starter_models": starters_reason,
}
