"""What one request is told about its wait: headers, comments of a stream, and its deadline.

The reason names other models, so that only those hear it who may watch queues.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from inference import veil, wire
from inference.errors import DeadlineExceeded, HubError, InvalidValue
from inference.openai import sse

Header = tuple[bytes, bytes]
DEADLINE = b"x-hub-deadline-ms"
MOST_DEADLINE_S, USUAL_DEADLINE_S = 3600.0, 300.0


@dataclass(slots=True)
class Wait:
    """From the question until an engine has it. The targets of a route share the deadline."""

    deadline_s: float = USUAL_DEADLINE_S
    tells_reason: bool = False
    hides: Callable[[], Collection[str]] = frozenset  # names that this client may not hear
    since_s: float | None = None  # when the node was asked
    progress: wire.Progress | None = None
    waited_s: float | None = None
    spent_s: float = 0.0  # of the deadline, for targets that failed
    late: DeadlineExceeded | None = None  # told where they took all of it
    clock: Callable[[], float] = time.monotonic

    def begin(self) -> None:
        """Raises: DeadlineExceeded where targets that failed took all of the time."""
        if self.late is not None and not self.left_s:
            raise self.late
        self.since_s = self.clock()

    def note(self, message: wire.Any) -> None:
        if isinstance(message, wire.Progress) and message.state != "running":
            self.progress = message
        elif self.waited_s is None and self.since_s is not None:
            self.waited_s = self.clock() - self.since_s

    @property
    def over(self) -> bool:
        """True once an engine has the request, or may have: who waits is told so."""
        asked = self.since_s is not None
        return asked and (self.progress is None or self.waited_s is not None)

    @property
    def left_s(self) -> float:
        """Give what the next target has of the deadline."""
        return max(0.0, self.deadline_s - self.spent_s)

    def again(self, failed: HubError) -> None:
        """Wait for another target."""
        self.spent_s += self._took_s()
        self.late = _late(failed)
        self.progress = self.waited_s = self.since_s = None

    def _took_s(self) -> float:
        """A target that told no progress had the request at once: computing is no wait."""
        if self.progress is None or self.since_s is None:
            return 0.0
        return self.clock() - self.since_s if self.waited_s is None else self.waited_s

    def headers(self) -> list[Header]:
        """Give what is known now; nothing where there was no wait."""
        if self.progress is None:
            return []
        headers = [(DEADLINE, _ms(self.deadline_s))]
        if self.waited_s is not None:
            return [*headers, (b"x-hub-queue-ms", _ms(self.waited_s))]
        headers.append((b"x-hub-queue-state", self.progress.state.encode()))
        headers.append((b"x-hub-queue-position", str(self.progress.position).encode()))
        if self.progress.eta_s is not None:
            headers.append((b"x-hub-queue-eta-ms", _ms(self.progress.eta_s)))
        if self.tells_reason and self.progress.reason:
            headers.append((b"x-hub-queue-reason", _printable(self._reason())))
        return headers

    def comment(self) -> bytes:
        """Give a comment for a stream in which nothing comes."""
        if self.progress is None or self.waited_s is not None:
            return sse.PING
        reason = self._reason() if self.tells_reason else ""
        return sse.waiting(self.progress, _printable(reason).decode())

    def told(self, error: HubError) -> HubError:
        """Give an error as this client may hear it."""
        return veil.told(error, self.hides())

    def _reason(self) -> str:
        return veil.text(self.progress.reason, self.hides()) if self.progress else ""


def _late(failed: HubError) -> DeadlineExceeded:
    late = DeadlineExceeded(
        f"no time is left to ask another target: {failed.message}",
        retry_after_s=failed.retry_after_s or 1.0,
    )
    late.details = failed.details
    return late


def deadline_s(headers: dict[bytes, bytes]) -> float:
    """Give how long this client waits for an engine. Raises: InvalidValue."""
    given = headers.get(DEADLINE)
    if given is None:
        return USUAL_DEADLINE_S
    if not given.isdigit() or len(given) > 9 or not 0 < int(given) <= MOST_DEADLINE_S * 1000:
        raise InvalidValue(
            f"the header {DEADLINE.decode()} must be milliseconds, 1 to {MOST_DEADLINE_S:.0f}000",
            param=DEADLINE.decode(),
        )
    return int(given) / 1000


def _ms(seconds: float) -> bytes:
    return str(round(seconds * 1000)).encode()


def _printable(text: str) -> bytes:
    """Give one line that may stand in a header."""
    return "".join(c if c.isprintable() else " " for c in text[:300]).encode("ascii", "replace")
