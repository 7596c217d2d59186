"""Server-sent events as OpenAI's clients read them."""

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


def waiting(state: str, position: int, eta_s: float | None) -> bytes:
    """Say in a comment, which clients skip, why nothing comes yet."""
    words = [state]
    if position:
        words.append(f"position {position}")
    if eta_s is not None:
        words.append(f"about {eta_s:.0f} s")
    return f": {', '.join(words)}\n\n".encode()
