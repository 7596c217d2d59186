"""What is seen from outside: structured logs with request ids, health, readiness and metrics."""

import logging
import os
import sys
from typing import Any

import structlog

from accounts import redaction
from hub.consumer_lines import OncePerOutage
from inference import outages
from inference.errors import HubError

QUIET = (
    "httpx", "httpcore", "uvicorn.access", "uvicorn.error", "django.channels.server", "asyncio",
)  # fmt: skip
SAID_BY_US = ("django.request",)  # a refusal is in the request's own line; a failure has a trace
ON_CONSOLE = ("inference.node.running",)  # the web process has a line for each request already


def _drop_extras(_logger: Any, _name: str, event: Any) -> Any:
    """uvicorn brings each message twice, the second time in colour; Django brings whole requests.

    A request shows its address, which may hold a token, and says nothing that the message does not.
    """
    for name in ("color_message", "request"):
        event.pop(name, None)
    return event


SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _drop_extras,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure_logging(options: dict[str, str]) -> None:
    """Send every log line of this process to stderr, as JSON or for people."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(options["format"]))
    handler.addFilter(OncePerOutage())
    handler.addFilter(_without_needless_traces)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options["level"])
    watched = options["format"] == "json" or options["level"] == "DEBUG"
    for name in (*QUIET, *(() if watched else ON_CONSOLE)):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in SAID_BY_US:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    _configure_structlog()


def _without_needless_traces(record: logging.LogRecord) -> bool:
    """One line is enough for a stranger's mistake (a wrong Host, an oversized form), for what is
    refused with its reason, and for a full disk or a service that is away: no line of code is to blame.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HubError) and error.code != HubError.code:
        record.__dict__.setdefault("reason", error.message)
    elif error is not None and outages.of(error) is not None:
        record.__dict__.setdefault("reason", f"{type(error).__name__}: {error}")
    elif not record.name.startswith("django.security"):
        return True
    record.exc_info = record.exc_text = None
    return True


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _formatter(shape: str) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redaction.clean_event,
            *_last(shape),
        ],
    )


def _last(shape: str) -> list[structlog.typing.Processor]:
    if shape == "json":
        return [
            _name_process,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return [
        _say_request,
        structlog.dev.ConsoleRenderer(
            colors=wants_colour(),
            pad_event_to=0,
            # The default formatter prints local variables, secrets among them.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _say_request(_logger: Any, _name: str, event: Any) -> Any:
    """Let a person read the end of a request like a sentence; what is left follows as fields."""
    if event.get("event") == "request" and {"method", "path", "status", "ms"} <= event.keys():
        method, path, status, ms = (event.pop(n) for n in ("method", "path", "status", "ms"))
        event["event"] = f"{method} {path} {status} in {ms:.0f} ms"
        event.pop("logger", None)
    return event


def _name_process(_logger: Any, _name: str, event: Any) -> Any:
    event["process"] = os.environ.get("HUB_PROCESS", "hub")
    return event


def wants_colour() -> bool:
    """Source: no-color.org; children of the supervisor inherit its answer in HUB_COLOUR."""
    if os.environ.get("NO_COLOR"):
        return False
    return os.environ.get("HUB_COLOUR") == "1" or sys.stderr.isatty()
