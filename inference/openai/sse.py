"""Server-sent events as OpenAI's clients read them."""

from inference import wire
from inference.errors import HubError
from inference.openai.errors import envelope

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def event(data: bytes, name: str | None = None) -> bytes:
    """Frame one JSON document."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + data + b"\n\n"


def error(failure: HubError) -> bytes:
    """End a stream that failed: no [DONE] follows."""
    return event(envelope(failure), "error")


def waiting(progress: wire.Progress, reason: str = "") -> bytes:
    """Say in a comment, which clients skip, why nothing comes yet. `reason` is one line."""
    words = [str(progress.state)]
    if progress.total_bytes:
        words.append(f"{100 * progress.loaded_bytes // progress.total_bytes} %")
    if progress.position:
        words.append(f"position {progress.position}")
    if progress.eta_s is not None:
        words.append(f"about {progress.eta_s:.0f} s")
    said = ", ".join(words)
    return f": {said}{': ' if reason else ''}{reason}\n\n".encode()
