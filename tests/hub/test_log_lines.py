"""What a log line shows, for people and as JSON: never a token, whoever attached it."""

import logging
import sys

import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory

from accounts import crypto
from hub import middleware, telemetry


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
    assert telemetry._without_strangers_traces(record)
    line = telemetry._formatter("console").format(record)
    assert "bad host" in line
    assert "Traceback" not in line


def test_a_path_with_control_characters_is_written_out(caplog: pytest.LogCaptureFixture) -> None:
    watched = middleware._Watched(lambda _message: None, "req_1")  # type: ignore[arg-type,return-value]
    with caplog.at_level(logging.INFO):
        middleware._log_end({"type": "http", "method": "GET", "path": "/a\x00\x1b[2J"}, watched)
    assert caplog.records[-1].__dict__["path"] == r"/a\x00\x1b[2J"
