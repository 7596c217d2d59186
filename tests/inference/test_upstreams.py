"""What another server serves is asked before it is added; servers of the tests answer, and misbehave."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pytest_django import Settings

from inference import upstreams
from inference.errors import InvalidValue, LoadFailed

KEY = "sk-of-the-upstream"
LISTED = json.dumps({"object": "list", "data": [{"id": "b", "x": 1}, {"id": "a"}]}).encode()


@contextmanager
def serving(
    body: bytes = LISTED, status: int = 200, key: str = "", encoding: str = "identity"
) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = not key or self.headers.get("authorization") == f"Bearer {key}"
            self.send_response(status if is_known else 401)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-encoding", encoding)
            self.send_header("location", "http://169.254.169.254/")
            self.end_headers()
            self.wfile.write(body if self.path == "/v1/models" else b"?")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def private(settings: Settings) -> None:
    settings.HUB_PRIVATE_UPSTREAMS = True


def test_it_lists_what_is_served() -> None:
    with serving(key=KEY) as url:
        assert upstreams.models(f"{url}/", KEY) == ["a", "b"]
        upstreams.check(url, KEY, "a")
        with pytest.raises(InvalidValue, match="has no ghost; it has a, b"):
            upstreams.check(url, KEY, "ghost")
        with pytest.raises(InvalidValue, match="refuses this key") as caught:
            upstreams.models(url, "sk-wrong")
    assert caught.value.param == "api_key"
    assert "sk-wrong" not in str(caught.value)


def test_a_server_without_a_list_is_believed() -> None:
    with serving(status=404) as url:
        assert upstreams.models(url, "") is None
        upstreams.check(url, "", "anything")


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"<html>", 200, "no list of models"),
        (b'{"data": "x"}', 200, "no list of models"),
        (b"[" * 100_000, 200, "no list of models"),
        (b"{}", 500, "answers 500"),
        (LISTED, 307, "answers 307"),
        (b" " * (upstreams.MAX_ANSWER_BYTES + 1), 200, "too long"),
    ],
)
def test_what_is_no_list_is_refused(body: bytes, status: int, word: str) -> None:
    with serving(body, status) as url, pytest.raises(LoadFailed, match=word):
        upstreams.models(url, KEY)


def test_private_addresses_are_called_only_where_the_operator_allows(settings: Settings) -> None:
    settings.HUB_PRIVATE_UPSTREAMS = False
    with serving() as url, pytest.raises(InvalidValue, match="no public address"):
        upstreams.models(url, "")


@pytest.mark.parametrize("url", ["http://[", "http://[/v1", "http://a:99999/v1", "http://a:x", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        upstreams.models(url, "")
    assert caught.value.param == "base_url"


def test_nobody_there_is_said() -> None:
    with pytest.raises(LoadFailed, match="does not answer"):
        upstreams.models("http://127.0.0.1:9/v1", "")


def test_what_is_compressed_is_not_unpacked() -> None:
    with (
        serving(gzip.compress(LISTED), encoding="gzip") as url,
        pytest.raises(LoadFailed, match="no list of models"),
    ):
        upstreams.models(url, KEY)
