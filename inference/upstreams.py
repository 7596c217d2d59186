"""What another OpenAI-compatible server serves: asked before one of its models is added.

Called by the dashboard. The engine asks again when it loads, from its own process.
"""

import ssl
import time
from http import HTTPStatus
from typing import Any

import httpx
import msgspec
from django.conf import settings

from inference import downloads
from inference.errors import InvalidValue, LoadFailed
from inference.safe_address import check_upstream, public_addresses

LIMIT_S = 15.0
CONNECT_S = 5.0
MAX_ANSWER_BYTES = 4 * 2**20
MAX_MODELS = 5000


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def models(base_url: str, api_key: str) -> list[str] | None:
    """List what it serves with this key; None where it has no such list.

    Raises: InvalidValue for the address, LoadFailed for the server.
    """
    address = check_upstream(base_url, "base_url")
    try:
        status, body = _asked(f"{address}/models", api_key)
    except httpx.HTTPError as error:
        raise LoadFailed(f"the server does not answer: {downloads.plain(error)}") from error
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return None
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise InvalidValue("the server refuses this key", param="api_key")
    if status != HTTPStatus.OK:
        raise LoadFailed(f"the server answers {status}; is this the address of its API?")
    try:
        found = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LoadFailed("the server's answer is no list of models of OpenAI's API") from error
    return sorted({model.id for model in found.data[:MAX_MODELS]})


def check(base_url: str, api_key: str, model: str) -> None:
    """Ask whether it serves this one. Raises: InvalidValue, LoadFailed."""
    served = models(base_url, api_key)
    if served is not None and model not in served:
        some = ", ".join(served[:10]) or "none"
        raise InvalidValue(f"the server has no {model}; it has {some}", param="upstream_model")


def _asked(url: str, api_key: str) -> tuple[int, bytes]:
    """Give status and body. Raises: httpx.HTTPError."""
    headers = {"accept-encoding": "identity"}  # what unpacks to a thousand times its size is not
    headers |= {"authorization": f"Bearer {api_key}"} if api_key else {}
    until_s, body = time.monotonic() + LIMIT_S, bytearray()
    with _client() as client, client.stream("GET", url, headers=headers) as answer:
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES or time.monotonic() > until_s:
                raise httpx.ReadTimeout("its answer is too long")
        return answer.status_code, bytes(body)


def _client() -> httpx.Client:
    """As the engine does: no proxy, no redirect, and the address that was checked is called."""
    inner = httpx.HTTPTransport(verify=ssl.create_default_context())
    timeout = httpx.Timeout(LIMIT_S, connect=CONNECT_S)
    transport: Any = downloads.Through(_door, inner)
    return httpx.Client(transport=transport, timeout=timeout, follow_redirects=False)


def _door(host: str) -> str | None:
    if settings.HUB_PRIVATE_UPSTREAMS:
        return None
    if addresses := public_addresses(host):
        return str(addresses[0])
    raise httpx.ConnectError(f"{host} is no public address")
