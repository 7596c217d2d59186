"""Keys and set-up tokens in logs: cleaned at the record, whoever writes it."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import crypto, redaction

KEY = crypto.new_key().plaintext
SECRET = KEY[16:]


@pytest.mark.parametrize(
    ("message", "args"),
    [
        (f"got {KEY}", ()),
        ("got %s", (KEY,)),
        ("got %r and %d", (KEY, 3)),
        ("got %(key)s", ({"key": KEY},)),
        ("got %s", (["a", {"deep": KEY}],)),
        ("got %s", ({KEY: 1},)),
        ("got %r", (KEY.encode(),)),
        ("got %s", (ValueError(KEY),)),
        (f"GET /v1/models?key={KEY}&x=1", ()),
        (f"Authorization: Bearer {KEY}", ()),
    ],
    ids=range(10),
)
def test_it_cleans_every_message(
    caplog: pytest.LogCaptureFixture, message: str, args: tuple[object, ...]
) -> None:
    logging.getLogger("any.library").warning(message, *args)
    assert SECRET not in caplog.text
    assert f"hub_{KEY[4:16]}[redacted]" in caplog.text


def test_it_cleans_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(f"bad key {KEY}")
    except ValueError:
        logging.getLogger("any.library").exception("failed")
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


def test_it_cleans_structured_events() -> None:
    event = redaction.clean_event(None, "info", {"event": "x", "headers": [("auth", KEY)]})
    assert SECRET not in str(event)


def test_it_cleans_set_up_links() -> None:
    token = crypto.new_token()
    assert token not in redaction.clean(f'"GET /setup/{token}/ HTTP/1.1" 200')


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_leaves_everything_else_alone(before: str, after: str) -> None:
    text = f"{before} {after}"
    if "hub_" not in text and "/setup/" not in text:
        assert redaction.clean(text) == text
    assert SECRET not in redaction.clean(f"{before} {KEY} {after}")
