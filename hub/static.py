"""Static files without a build or collect step: `{% static %}` adds the content's hash, and this
application answers from memory, compressed, before Django is asked.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage

from hub.middleware import App, Receive, Scope, Send, header

LARGEST_BYTES = 32 * 1024 * 1024
FOREVER = b"public, max-age=31536000, immutable"
REVALIDATE = b"public, max-age=0, must-revalidate"
TEXT_TYPES = ("text/", "application/javascript", "application/json", "image/svg+xml")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    content: bytes
    compressed: bytes | None
    media_type: str
    version: str

    @property
    def etag(self) -> bytes:
        return f'"{self.version}"'.encode()


def find(name: str) -> Asset | None:
    """Find a file of the apps' or the project's static folders; read again when it changes."""
    found = finders.find(name)
    if not isinstance(found, str):
        return None
    file = Path(found)
    if not file.is_file():
        return None
    state = file.stat()
    return _load(found, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1024)
def _load(file: str, _changed_ns: int, size_bytes: int) -> Asset | None:
    if size_bytes > LARGEST_BYTES:
        return None
    content = Path(file).read_bytes()
    media_type = mimetypes.guess_type(file)[0] or "application/octet-stream"
    compressed = gzip.compress(content, 6, mtime=0) if media_type.startswith(TEXT_TYPES) else None
    if compressed is not None and len(compressed) >= len(content):
        compressed = None
    return Asset(content, compressed, media_type, hashlib.sha256(content).hexdigest()[:16])


class VersionedStorage(StaticFilesStorage):
    """Name a file by path and content: /static/hub.css?v=0f3a..., which may be kept forever."""

    def url(self, name: str | None) -> str:
        plain = super().url(name)
        asset = find(name) if name else None
        return f"{plain}?v={asset.version}" if asset else plain


class StaticFiles:
    """Answer GET and HEAD under the prefix; leave the rest to the next application."""

    def __init__(self, app: App, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(self.prefix):
            await self._serve(scope, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, [(b"allow", b"GET, HEAD")], b"")
            return
        asset = _find_safely(scope["path"].removeprefix(self.prefix))
        if asset is None:
            await _answer(
                send, 404, [(b"content-type", b"text/plain")], b"There is no such file.\n"
            )
            return
        await self._send_asset(scope, send, asset)

    async def _send_asset(self, scope: Scope, send: Send, asset: Asset) -> None:
        headers = _asset_headers(scope, asset)
        if header(scope["headers"], b"if-none-match") == asset.etag:
            await _answer(send, 304, headers, b"")
            return
        content = asset.content
        if asset.compressed is not None and _takes_gzip(scope):
            content = asset.compressed
            headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", str(len(content)).encode()))
        await _answer(send, 200, headers, b"" if scope["method"] == "HEAD" else content)


def _find_safely(name: str) -> Asset | None:
    if "\0" in name or "\\" in name or ".." in name.split("/") or name.startswith("/"):
        return None
    return find(name)


def _takes_gzip(scope: Scope) -> bool:
    return b"gzip" in (header(scope["headers"], b"accept-encoding") or b"")


def _asset_headers(scope: Scope, asset: Asset) -> list[tuple[bytes, bytes]]:
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("v")
    charset = "; charset=utf-8" if asset.media_type.startswith(TEXT_TYPES) else ""
    return [
        (b"content-type", f"{asset.media_type}{charset}".encode()),
        (b"cache-control", FOREVER if asked == [asset.version] else REVALIDATE),
        (b"etag", asset.etag),
        (b"vary", b"accept-encoding"),
        (b"x-content-type-options", b"nosniff"),
    ]


async def _answer(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
