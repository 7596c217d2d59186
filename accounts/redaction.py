"""Keys, tokens and set-up links never reach a log: records are cleaned when they are made."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

from accounts.crypto import ID_CHARS, PREFIX

_SECRETS = re.compile(
    rf"({PREFIX}[0-9A-Za-z]{{{ID_CHARS}}})[0-9A-Za-z]{{8,}}|(/setup/)[0-9A-Za-z_-]{{20,}}"
    r"|(hub[or]_)[0-9A-Za-z]{20,}|(eyJ)[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*"
)
_SIGNS = (PREFIX, "/setup/", "hubo_", "hubr_", "eyJ")
_formatter = logging.Formatter()


def clean(text: str) -> str:
    """Keep a key's public id, or what kind of secret it was; hide the rest."""
    if not any(sign in text for sign in _SIGNS):
        return text
    return _SECRETS.sub(lambda found: f"{found[found.lastindex or 0]}[redacted]", text)


def clean_value(value: Any) -> Any:
    """Clean a string, or every string inside lists, tuples and mappings."""
    match value:
        case str():
            return clean(value)
        case bytes():
            return clean(value.decode("latin-1")).encode("latin-1")
        case dict():
            return {clean_value(key): clean_value(item) for key, item in value.items()}
        case list():
            return [clean_value(item) for item in value]
        case tuple() if type(value) is tuple:
            return tuple(clean_value(item) for item in value)
    return value


def clean_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Clean a structlog event: the processor to put last before rendering."""
    return {key: clean_value(value) for key, value in event.items()}


class Filter(logging.Filter):
    """Clean a record that some handler is about to write, the traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = clean_value(record.msg)
        record.args = clean_value(record.args)
        if record.args and (text := record.getMessage()) != (cleaned := clean(text)):
            record.msg, record.args = cleaned, ()
        if record.exc_info and record.exc_info[0]:
            text = record.exc_text or _formatter.formatException(record.exc_info)
            record.exc_text = clean(text)
        return True


def install() -> None:
    """Clean every record of this process at its making, whatever handlers there are."""
    make, cleaner = logging.getLogRecordFactory(), Filter()
    if getattr(make, "cleans", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        cleaner.filter(record)
        return record

    factory.cleans = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)
