"""What a log line shows, for people and as JSON: never a token, whoever attached it."""

import logging

import pytest
from django.test import RequestFactory

from accounts import crypto
from hub import telemetry


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
