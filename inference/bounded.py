"""Ask a server that nobody vouches for: an answer has its most bytes, and its most seconds.

Called by `hub_protocol`, `hub_search` and `downloads`.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

MAX_ANSWER_BYTES = 16 * 2**20
LIMIT_S = 30.0  # from the first byte asked to the last one heard

Check = Callable[[], None]  # ends the answer by what it raises


def nothing() -> None:
    """Ask nobody whether the answer is still wanted."""


def get(
    client: httpx.Client,
    url: str,
    *,
    headers: Mapping[str, str],
    params: httpx.QueryParams | None = None,
    check: Check = nothing,
) -> tuple[int, bytes]:
    """Give status and body. Raises: httpx.HTTPError."""
    # What unpacks to a thousand times its size is not asked for.
    asked = {**headers, "accept-encoding": "identity"}
    body = bytearray()
    with (
        hung_up_after(LIMIT_S) as watch,
        client.stream("GET", url, params=params, headers=asked, extensions=watch) as answer,
    ):
        for chunk in pieces(answer, LIMIT_S, check):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise httpx.ReadError("its answer is too long")
        return answer.status_code, bytes(body)


def pieces(answer: httpx.Response, limit_s: float, check: Check = nothing) -> Iterator[bytes]:
    """Give what comes, no longer than `limit_s`. Raises: httpx.HTTPError, what `check` raises."""
    until_s = time.monotonic() + limit_s
    for chunk in answer.iter_raw():
        check()
        if time.monotonic() > until_s:
            raise httpx.ReadTimeout(f"its answer is not whole after {limit_s:.0f} s")
        yield chunk


@contextmanager
def hung_up_after(limit_s: float) -> Iterator[dict[str, Any]]:
    """Give the extensions of a request whose connections are closed after `limit_s`.

    A timeout of httpx starts anew with each byte, so one byte at a time holds a thread for ever.
    """
    sockets: list[socket.socket] = []
    over = threading.Event()

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            sockets.append(info["return_value"].get_extra_info("socket"))

    timer = threading.Timer(limit_s, _hang_up, (sockets, over))
    timer.daemon = True
    timer.start()
    try:
        yield {"trace": trace}
    except httpx.TransportError as error:
        if over.is_set():
            raise httpx.ReadTimeout(f"its answer is not whole after {limit_s:.0f} s") from error
        raise
    finally:
        timer.cancel()


def _hang_up(sockets: list[socket.socket], over: threading.Event) -> None:
    over.set()
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed already
            continue
