"""The engine for a model that another OpenAI-compatible server serves: a cloud GPU, another hub.

`spec.options`: base_url (ends in /v1), upstream_model, api_key, private_upstream (its address may be
loopback or of a private network), connect_timeout_s, first_byte_timeout_s, kind. The only engine process that keeps its network.
"""

import asyncio
import socket
import ssl
import time
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from inference import wire
from inference.engines.base import Setting
from inference.engines.footprint import Footprint
from inference.engines.upstream_client import CONNECT_S, FIRST_BYTE_S, Patience, Upstream
from inference.engines.upstream_engine import UpstreamEngine
from inference.errors import HubError, LoadFailed
from inference.public_address import is_public

CAPABILITIES: dict[str, list[str]] = {
    "llm": ["chat", "completions"],
    "vlm": ["chat", "completions", "images"],
    "embed": ["embeddings"],
    "asr": ["transcriptions", "translations"],
}


class RemoteOpenai(UpstreamEngine):
    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        """Ask the server for its models: address, key and name are right before anyone waits."""
        started_s = time.monotonic()
        footprint = Footprint("cpu")
        model = str(spec.options.get("upstream_model") or spec.name)
        self.wait(self._open(spec, model))
        setting.progress(1, 1)
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            device="cpu",
            dtype="remote",
            context_tokens=spec.context_tokens,
            load_s=time.monotonic() - started_s,
            capabilities=CAPABILITIES.get(spec.kind, []),
        )

    async def _open(self, spec: wire.ModelSpec, model: str) -> None:
        key = str(spec.options.get("api_key") or "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        private = bool(spec.options.get("private_upstream"))
        transport = CheckedTransport(private=private)
        base_url, patience = str(spec.options["base_url"]), _patience(spec)
        self._upstream = Upstream(base_url, model, headers, transport, patience=patience)
        try:
            served = await self._upstream.models()
        except HubError as error:
            raise LoadFailed(f"{spec.name}: {error.message}") from error
        if served is not None and model not in served:
            some = ", ".join(sorted(served)[:10]) or "none"
            raise LoadFailed(f"{spec.name}: the upstream server has no {model}; it has {some}")


def _patience(spec: wire.ModelSpec) -> Patience:
    return Patience(
        connect_s=float(spec.options.get("connect_timeout_s", CONNECT_S)),
        first_byte_s=float(spec.options.get("first_byte_timeout_s", FIRST_BYTE_S)),
    )


class CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to the address that was checked, whatever the name means a moment later."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        limits = httpx.Limits(max_connections=None)
        self._inner = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(), limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        parts = urlsplit(str(request.url))
        host = parts.hostname or ""
        limit_s = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(limit_s):
                address = await self._address(host)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{host} cannot be resolved in time") from error
        shown = f"[{address}]" if ":" in address else address
        place = f"{shown}:{parts.port}" if parts.port else shown
        request.url = httpx.URL(urlunsplit(parts._replace(netloc=place)))
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await self._inner.handle_async_request(request)

    async def _address(self, host: str) -> str:
        """Raises: httpx.ConnectError."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"{host} cannot be resolved") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        allowed = [a for a in addresses if self._private or is_public(ip_address(a))]
        if not allowed:
            raise httpx.ConnectError(f"{host} is no public address")
        return allowed[0]

    async def aclose(self) -> None:
        await self._inner.aclose()


ENGINE: Any = RemoteOpenai
