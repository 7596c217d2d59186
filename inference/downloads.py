"""Download one file: resumed where it was cut, checked by digest, honouring pip's own settings."""

import hashlib
import logging
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import httpx

from inference import bounded

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
STALL_S = 60.0
SLOW_S = 300.0  # as long below SLOW_BYTES_PER_S, and a download is given up
SLOW_BYTES_PER_S = 1024
CONNECT_S = 20.0
ATTEMPTS = 5  # without a single new byte
FIRST_PAUSE_S = 0.5
ERRNO = re.compile(r"\[Errno -?\d+\] ")
REFUSED = frozenset({401, 403, 404, 407, 410})

Progress = Callable[[int, int], None]  # done bytes, total bytes (0: unknown)
Pause = Callable[[float], None]
Door = Callable[[str], str | None]  # host -> the address to call; None: any of it. Raises: Refused


class DownloadFailed(Exception):
    """The message says which file and why, for the operator."""


class Refused(DownloadFailed):
    """The server will not give this file, however often it is asked."""


class WrongDigest(DownloadFailed):
    """The bytes are not the ones that were promised; they have been removed."""


class TooLong(DownloadFailed):
    """More came than was announced; it has been removed."""


class _Cut(Exception):
    """The connection ended early; what came is kept."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file is, and its SHA-256 if the index knows it."""

    url: str
    sha256: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # a token stays with its host
    door: Door | None = None  # asked before each hop of a redirect
    size_bytes: int | None = None  # what was announced, and the most that is taken

    @property
    def name(self) -> str:
        return unquote(Path(urlsplit(self.url).path).name)


def download(source: Source, target: Path, progress: Progress, pause: Pause = time.sleep) -> None:
    """Write `target`; a `.part` file beside it survives a kill and is resumed.

    Raises: DownloadFailed, Refused, TooLong, WrongDigest, OSError.
    """
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.url.startswith("file:"):
        shutil.copyfile(unquote(urlsplit(source.url).path), part)
    else:
        _fetch(source, part, progress, pause)
    if source.sha256 and sha256_of(part) != source.sha256:
        part.unlink()
        raise WrongDigest(f"{source.name}: its SHA-256 is not the index's; it was removed")
    part.replace(target)


def _fetch(source: Source, part: Path, progress: Progress, pause: Pause) -> None:
    """Ask again for the rest until all is there; give up after ATTEMPTS without a new byte."""
    failures, reason = 0, ""
    with open_client(source.door) as client:
        while failures < ATTEMPTS:
            before = _size(part)
            try:
                _append(client, source, part, progress)
            except (_Cut, httpx.TransportError) as error:
                failures = 1 if _size(part) > before else failures + 1
                reason = plain(error)
                log.info("download cut, resuming", extra={"file": source.name, "reason": reason})
                pause(FIRST_PAUSE_S * 2 ** (failures - 1))
            except TooLong:
                part.unlink()
                raise
            except httpx.HTTPError as error:  # a circle of redirects, above all
                raise DownloadFailed(f"{source.name}: {plain(error)}") from error
            else:
                return
    raise DownloadFailed(f"{source.name}: {reason}; what came is kept, run it again to resume")


def plain(error: Exception) -> str:
    """Say an error of the system without its number, which tells an operator nothing."""
    return ERRNO.sub("", str(error)) or type(error).__name__


def _append(client: httpx.Client, source: Source, part: Path, progress: Progress) -> None:
    """Raises: _Cut, Refused, TooLong, DownloadFailed, httpx.HTTPError, OSError."""
    offset = _size(part)
    if source.size_bytes is not None and offset > source.size_bytes:
        raise _too_long(source)
    # Without this, a server may compress, and then neither length nor offset mean anything.
    headers = {**source.headers, "accept-encoding": "identity"}
    if offset:
        headers["range"] = f"bytes={offset}-"
    with ExitStack() as stack:
        with bounded.hung_up_after(STALL_S) as watch:  # until the file itself begins
            response = stack.enter_context(
                client.stream("GET", source.url, headers=headers, extensions=watch)
            )
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if _total_of_range(response) == offset:
                return
            part.unlink()
            raise _Cut("the server's file is shorter than what came before")
        if response.status_code in REFUSED:
            raise Refused(f"{source.name}: the server answers {response.status_code}")
        if response.status_code not in {200, 206}:
            raise _Cut(f"the server answers {response.status_code}")
        start = offset if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        _write(response, source, part, start, progress)


def _write(
    response: httpx.Response, source: Source, part: Path, start: int, progress: Progress
) -> None:
    """Raises: _Cut, TooLong, DownloadFailed, httpx.TransportError, OSError."""
    length = int(response.headers.get("content-length", 0))
    total = start + length if length else 0
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        for chunk in _steady(response, source):
            if source.size_bytes is not None and file.tell() + len(chunk) > source.size_bytes:
                raise _too_long(source)
            file.write(chunk)
            progress(file.tell(), total)
        done = file.tell()
        file.flush()
        os.fsync(file.fileno())
    if total and done < total:
        raise _Cut(f"the connection ended after {done} of {total} bytes")


def _too_long(source: Source) -> TooLong:
    return TooLong(
        f"{source.name}: the server announced {source.size_bytes:,} bytes and sends more;"
        " what came was removed"
    )


def _steady(response: httpx.Response, source: Source) -> Iterator[bytes]:
    """Give what comes, while enough of it does. Raises: DownloadFailed, httpx.TransportError."""
    since_s, came = time.monotonic(), 0
    for chunk in response.iter_raw():
        came += len(chunk)
        yield chunk
        passed_s = time.monotonic() - since_s
        if passed_s >= SLOW_S:
            if came < SLOW_BYTES_PER_S * passed_s:
                raise DownloadFailed(
                    f"{source.name}: {came:,} bytes came in {passed_s:.0f} s, which is too slow;"
                    " what came is kept, run it again to resume"
                )
            since_s, came = time.monotonic(), 0


def _total_of_range(response: httpx.Response) -> int:
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else -1


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def sha256_of(file: Path, note: Callable[[int], None] = lambda _: None) -> str:
    """Hash a file; `note` is told the bytes of each chunk, and may end it by what it raises."""
    digest = hashlib.sha256()
    for chunk in chunks(file):
        digest.update(chunk)
        note(len(chunk))
    return digest.hexdigest()


def chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


class Through(httpx.BaseTransport):
    """Asks the door once for each hop and calls the address it gives: a name cannot change meanwhile."""

    def __init__(self, door: Door, transport: httpx.BaseTransport) -> None:
        self._door, self._transport = door, transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        address = self._door(request.url.host)
        if address is None:
            return self._transport.handle_request(request)
        there = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,  # `Host` names the name
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return self._transport.handle_request(there)

    def close(self) -> None:
        self._transport.close()


def open_client(door: Door | None = None) -> httpx.Client:
    """Proxies come from the environment, or from pip's configuration; they resolve names themselves."""
    settings = pip_settings()
    trust, proxy = _trust(settings.get("cert", "")), settings.get("proxy") or None
    through, hooks = None, []
    if door and (proxy or getproxies()):
        hooks = [lambda request: door(request.url.host)]
    elif door:
        through = Through(door, httpx.HTTPTransport(verify=trust))
    return httpx.Client(
        event_hooks={"request": hooks},
        follow_redirects=True,
        timeout=httpx.Timeout(STALL_S, connect=CONNECT_S),
        transport=through,
        verify=trust,
        proxy=proxy,
    )


def _trust(certificates: str) -> ssl.SSLContext:
    """Trust what pip was told to trust, else SSL_CERT_FILE or the system's store."""
    if certificates and Path(certificates).exists():
        is_folder = Path(certificates).is_dir()
        return ssl.create_default_context(
            cafile=None if is_folder else certificates, capath=certificates if is_folder else None
        )
    return ssl.create_default_context()


@cache
def pip_settings() -> dict[str, str]:
    """Read pip's own configuration: files and PIP_* variables, the last of them wins."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    settings: dict[str, str] = {}
    for line in found.stdout.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            settings[name.rpartition(".")[2]] = value.strip().strip("'\"")
    return settings | {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
