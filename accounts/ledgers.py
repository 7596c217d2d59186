"""What limits ask of whoever counts, and what they are told: Redis, or this process alone."""

from dataclasses import dataclass
from typing import Literal

from accounts.quota import Subject

Limited = Literal["requests", "tokens", "concurrency"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One request that wants in; `now_us` 0 lets the ledger's own clock decide.

    Of what is left it gets `tokens` at least and `most` at best. Where `tokens` alone is over a limit
    that `least` is within, it may have the whole of an hour in which nothing was used.
    """

    subjects: tuple[Subject, ...]
    lease: str
    tokens: int  # reserved
    lease_us: int  # 0: it takes no place, and does not end
    now_us: int = 0
    most: int = 0  # 0: no more than `tokens`
    least: int | None = None  # None: no less than `tokens`

    @property
    def wish(self) -> int:
        return max(self.tokens, self.most)

    @property
    def need(self) -> int:
        return self.tokens if self.least is None else self.least


@dataclass(frozen=True, slots=True)
class Left:
    """What the tightest limit of a kind leaves."""

    limit: int
    remaining: int
    reset_s: float  # until all of it is free again


@dataclass(frozen=True, slots=True)
class Granted:
    minute: int  # in whose bucket the tokens were reserved
    requests: Left | None = None
    tokens: Left | None = None
    reserved: int = 0  # tokens


@dataclass(frozen=True, slots=True)
class Denied:
    """Of several limits in the way the one that lasts longest; what is left, nothing taken."""

    kind: Limited
    subject: str
    limit: int
    retry_after_s: float | None  # None: never, the request alone is over the limit
    requests: Left | None = None
    tokens: Left | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a request and the tokens that it really used."""

    ask: Ask
    minute: int
    used: int
    now_us: int = 0
