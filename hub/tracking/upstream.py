"""How MLflow's server is asked: ours through its unix socket, or a remote one. Nothing of ours goes along.

Headers pass in both directions by name only: no cookie, no credential, no hop-by-hop header.
"""

import functools
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx

from inference.errors import Unavailable
from training import mlflow_place
from training.tracking import workspaces

CONNECT_S = 5.0
STALL_S = 120.0  # its first answer waits until it is imported, on a busy machine
MAX_ANSWER_BYTES = 1 << 30
ASKED = ("accept", "accept-language", "content-type", "if-none-match", "if-modified-since", "range")
GIVEN = (
    "accept-ranges",
    "cache-control",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
)
AWAY = "MLflow's server does not answer. It comes back by itself; try again in a moment."


@dataclass(slots=True)
class Answer:
    """Its body is read once, to the end or until `close`."""

    status: int
    headers: Mapping[str, str]
    _response: httpx.Response
    _client: httpx.AsyncClient

    async def chunks(self) -> AsyncIterator[bytes]:
        """Cut what never ends; a stalled server ends it too."""
        seen_bytes = 0
        try:
            async for chunk in self._response.aiter_raw():
                seen_bytes += len(chunk)
                if seen_bytes > MAX_ANSWER_BYTES:
                    raise httpx.ReadError("its answer is too long")
                yield chunk
        finally:
            await self.close()

    async def read(self, limit_bytes: int) -> bytes:
        """Give the whole body. Raises: Unavailable."""
        body = bytearray()
        try:
            async for chunk in self.chunks():
                body += chunk
                if len(body) > limit_bytes:
                    raise Unavailable("MLflow's answer is larger than it should be.")
        except httpx.HTTPError as error:
            raise Unavailable(AWAY) from error
        return bytes(body)

    async def close(self) -> None:
        await self._response.aclose()
        await self._client.aclose()


async def ask(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, team: int | None
) -> Answer:
    """Send a request that `rules` let pass; None: to no team's part. Raises: Unavailable."""
    client = _client()
    try:
        request = client.build_request(
            method, _url(path, query), headers=_headers(headers, team), content=body or None
        )
        response = await client.send(request, stream=True, follow_redirects=False)
    except httpx.HTTPError as error:
        await client.aclose()
        raise Unavailable(AWAY) from error
    given = {name: response.headers[name] for name in GIVEN if name in response.headers}
    return Answer(response.status_code, given, response, client)


def _url(path: str, query: str) -> str:
    base = mlflow_place.remote() or f"http://localhost{mlflow_place.PREFIX}"
    return f"{base}/{path}" + (f"?{query}" if query else "")


def _headers(given: Mapping[str, str], team: int | None) -> dict[str, str]:
    sent = {name: given[name] for name in ASKED if name in given}
    sent |= {"accept-encoding": "identity", "user-agent": "ai-backend-hub"}
    if team is None or mlflow_place.remote():
        return sent
    return sent | {workspaces.HEADER: workspaces.name(team)}


def _client() -> httpx.AsyncClient:
    timeout = httpx.Timeout(STALL_S, connect=CONNECT_S)
    if mlflow_place.remote():
        transport = httpx.AsyncHTTPTransport(verify=_certificates(), trust_env=False)
    else:
        transport = httpx.AsyncHTTPTransport(uds=str(mlflow_place.socket()), verify=False)
    return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


@functools.cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
