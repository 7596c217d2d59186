"""What the web process answers to everybody, and what it refuses before reading it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.hub import processes

LARGE_BYTES = 32 * 1024**2  # more than sockets hold
PASSWORD = "correct horse battery staple 9"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def url(data: Path) -> Iterator[str]:
    """A web process without Redis and without a node."""
    with processes.web(data) as url:
        yield url


@pytest.fixture(scope="module")
def key(data: Path, url: str) -> str:
    port = urlsplit(url).port or 0
    made = processes.manage(data, port, "create_admin", "--username", "ada", text=PASSWORD + "\n")
    assert made.returncode == 0, made.stderr
    scope = ("--scope", "status:read")
    made = processes.manage(data, port, "create_key", "--user", "ada", "--name", "prom", *scope)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=30)


def raw(url: str, request: bytes) -> bytes:
    """Send these bytes and read until the server closes."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def test_it_is_alive_without_anything_else(url: str) -> None:
    assert get(f"{url}/healthz").json() == {"status": "ok"}


def test_it_says_why_it_is_not_ready(url: str) -> None:
    answer = get(f"{url}/readyz")
    checks = answer.json()["checks"]
    assert answer.status_code == 503
    assert checks["database"]["ok"]
    assert "Redis does not answer" in checks["redis"]["reason"]
    assert "node does not answer" in checks["node"]["reason"]


def test_it_gives_each_request_an_id(url: str) -> None:
    assert get(f"{url}/healthz").headers["x-request-id"].startswith("req_")
    assert get(f"{url}/healthz", x_request_id="mine-1").headers["x-request-id"] == "mine-1"
    foreign = get(f"{url}/healthz", x_request_id="a b").headers["x-request-id"]
    assert foreign.startswith("req_")


def test_it_shows_metrics_to_those_who_may_see_them(url: str, key: str) -> None:
    assert get(f"{url}/metrics").status_code == 401
    answer = get(f"{url}/metrics", authorization=f"Bearer {key}")
    assert answer.status_code == 200
    assert "hub_node_up 0.0" in answer.text
    assert "hub_requests" in answer.text
    assert "django_http_requests_total" in answer.text


def test_it_tells_caches_to_keep_nothing(url: str) -> None:
    for path in ("/login/", "/", "/healthz", "/api/v1/me"):
        kept = get(f"{url}{path}").headers["cache-control"]
        assert {"no-store", "private"} <= {*kept.split(", ")}, path


def test_it_answers_a_wrong_method_of_a_probe_with_the_right_ones(url: str) -> None:
    answer = httpx.put(f"{url}/healthz", timeout=30)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert httpx.head(f"{url}/healthz", timeout=30).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/login/", 413, "text/html"),
        ("/api/v1/keys", 413, "application/json"),
        ("/v1/chat/completions", 401, "application/json"),
    ],
)
def test_it_refuses_a_large_body_before_reading_it(
    url: str, path: str, status: int, kind: str
) -> None:
    """The answer arrives whole, although the client reads only once it has sent a lot."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    answer = raw(url, head.encode() + b"x" * LARGE_BYTES)
    lines, _, body = answer.decode().partition("\r\n\r\n")
    assert lines.startswith(f"HTTP/1.1 {status}")
    assert f"content-type: {kind}" in lines
    assert f"content-length: {len(body.encode())}" in lines
    assert "x-request-id: req_" in lines
    if kind == "application/json":
        assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


def test_it_refuses_it_in_the_browsers_language(url: str) -> None:
    head = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nAccept-Language: vi\r\n"
    answer = raw(url, head + b"Content-Length: 1000000000\r\n\r\n")
    assert "Nội dung quá lớn" in answer.decode()


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTP/9\r\n\r\n"])
def test_it_refuses_what_is_no_request_in_the_envelope(url: str, nonsense: bytes) -> None:
    lines, _, body = raw(url, nonsense + b"x" * LARGE_BYTES).decode().partition("\r\n\r\n")
    assert lines.startswith("HTTP/1.1 400")
    assert "x-request-id: req_" in lines
    assert json.loads(body)["error"]["code"] == "invalid_request"


def test_it_refuses_an_endless_body(url: str) -> None:
    head = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    assert raw(url, head + chunk * 100).startswith(b"HTTP/1.1 413")
    assert get(f"{url}/healthz").is_success


def test_it_refuses_too_many_headers(url: str) -> None:
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(5000))
    answer = raw(url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"More than 128 headers" in answer


def test_it_refuses_a_name_that_is_not_its_own(url: str) -> None:
    assert get(f"{url}/login/", host="evil.example").status_code == 400


def test_it_tells_browsers_what_they_may_do(url: str) -> None:
    headers = get(f"{url}/login/").headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


def test_it_serves_static_files_compressed_and_for_ever(url: str) -> None:
    page = get(f"{url}/login/").text
    start = page.index("/static/")
    path = page[start : page.index('"', start)]
    answer = get(url + path, accept_encoding="gzip")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    etag = answer.headers["etag"]
    assert get(url + path, if_none_match=etag).status_code == 304
    plain = get(url + path.partition("?")[0], accept_encoding="identity")
    assert "must-revalidate" in plain.headers["cache-control"]
    assert plain.content == answer.content


@pytest.mark.parametrize("name", ["../hub/settings.py", "%2e%2e/manage.py", "no-such", "a%00b"])
def test_it_serves_nothing_else(url: str, name: str) -> None:
    answer = raw(
        url,
        f"GET /static/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 404")
