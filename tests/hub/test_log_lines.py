"""What a log line shows, for people and as JSON: never a token, whoever attached it."""

import errno
import logging
import sys

import httpx
import pytest
import redis
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts import crypto
from hub import middleware, telemetry
from inference.errors import DiskFull, HubError, NodeUnavailable
from tests import servers


@pytest.mark.parametrize("shape", ["console", "json"])
def test_a_set_up_token_is_in_no_extra(shape: str, rf: RequestFactory) -> None:
    token = crypto.new_token()
    record = logging.makeLogRecord(
        {
            "name": "django.request",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "Bad Request: %s",
            "args": (f"/setup/{token}/",),
            "request": rf.post(f"/setup/{token}/"),
            "place": [f"http://127.0.0.1/setup/{token}/"],
            "status_code": 400,
        }
    )
    line = telemetry._formatter(shape).format(record)
    assert "Bad Request" in line
    assert "400" in line
    assert token not in line


def test_a_strangers_mistake_is_one_line_without_a_trace() -> None:
    try:
        raise DisallowedHost("Invalid HTTP_HOST header: 'evil.example'.")
    except DisallowedHost:
        record = logging.LogRecord(
            "django.security.DisallowedHost", logging.ERROR, "", 0, "bad host", (), sys.exc_info()
        )
    assert telemetry._without_needless_traces(record)
    line = telemetry._formatter("console").format(record)
    assert "bad host" in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        redis.TimeoutError("no answer"),
        DiskFull("the disk of the models has 2 MiB left"),
        NodeUnavailable("the node is away"),
    ],
)
def test_what_is_away_or_refused_is_one_line_that_says_why(error: Exception) -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    assert telemetry._without_needless_traces(record)
    for shape in ("console", "json"):
        line = telemetry._formatter(shape).format(record)
        assert str(error) in line
        assert "Traceback" not in line


@pytest.mark.parametrize("error", [KeyError("x"), HubError("the server had an error")])
def test_a_mistake_of_ours_keeps_its_trace(error: Exception) -> None:
    try:
        raise error
    except type(error):
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    assert telemetry._without_needless_traces(record)
    assert "Traceback" in telemetry._formatter("console").format(record)


def test_a_path_with_control_characters_is_written_out(caplog: pytest.LogCaptureFixture) -> None:
    watched = middleware._Watched(lambda _message: None, "req_1")  # type: ignore[arg-type,return-value]
    with caplog.at_level(logging.INFO):
        middleware._log_end({"type": "http", "method": "GET", "path": "/a\x00\x1b[2J"}, watched)
    assert caplog.records[-1].__dict__["path"] == r"/a\x00\x1b[2J"


def test_a_person_reads_the_end_of_a_request_like_a_sentence() -> None:
    fields = {"method": "GET", "path": "/models/", "status": 404, "ms": 12.6, "bytes": 9}
    record = logging.makeLogRecord({"name": "hub.middleware", "msg": "request", **fields})
    line = telemetry._formatter("console").format(record)
    assert "GET /models/ 404 in 13 ms" in line
    assert "bytes=9" in line
    assert '"status": 404' in telemetry._formatter("json").format(record)


def test_a_request_is_one_line() -> None:
    """Django's own line for a refusal, and what uvicorn says of websockets, would be second ones."""
    with servers.hub() as hub:
        httpx.get(f"{hub.url}/api/v1/there-is-nothing", headers={"x-api-key": hub.key})
        origin = Origin(hub.url)
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{hub.port}/ws/live/", origin=origin)
        httpx.get(f"{hub.url}/login/")
        lines = [line for line in hub.log("web").splitlines() if "healthz" not in line]
    assert [line for line in lines if "there-is-nothing" in line] == [lines[0]]
    assert not [line for line in lines if "uvicorn" in line or "WebSocket" in line]
