"""How a model did in the last hour: the columns of its charts, and the table behind them."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from asgiref.sync import async_to_sync
from django.utils.translation import gettext_lazy as _

from hub.dashboard.watcher import Tick
from inference import router, wire
from inference.errors import HubError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

log = logging.getLogger(__name__)

HOUR_S = 3600.0


class Chart(NamedTuple):
    """`kind` is the script's name for it."""

    kind: str
    title: "_StrPromise"


CHARTS = (
    Chart("requests", _("Requests and failures, each 30 s")),
    Chart("first", _("Seconds to the first token")),
    Chart("speed", _("Tokens/s of an answer")),
)
SHOWN = 20  # steps of the table, the newest


@dataclass(frozen=True)
class Course:
    """`now` ends the hour; the charts show times without a request as such."""

    course: wire.Course
    now: float

    @property
    def whole(self) -> wire.CourseStep:
        return self.course.whole

    @property
    def is_cut(self) -> bool:
        """Tell whether the model service started within the hour: what was before is not known."""
        return self.course.since > self.now - HOUR_S

    @cached_property
    def table(self) -> list[wire.CourseStep]:
        return self.course.steps[: -SHOWN - 1 : -1]

    @cached_property
    def json(self) -> str:
        """Columns, a row for each step of the hour; a time that nobody measured is null."""
        known = {step.at: step for step in self.course.steps}
        step_s = self.course.step_s
        last = int(self.now // step_s)
        first = max(int(self.course.since // step_s), last - int(HOUR_S / step_s) + 1)
        steps = [
            known.get(n * step_s, wire.CourseStep(at=n * step_s)) for n in range(first, last + 1)
        ]
        columns = {
            "at": [step.at for step in steps],
            "requests": [step.requests - step.failures for step in steps],
            "failures": [step.failures for step in steps],
            "first_p50_s": [step.first_p50_s for step in steps],
            "first_p95_s": [step.first_p95_s for step in steps],
            "tokens_per_s": [step.tokens_per_s for step in steps],
        }
        return msgspec.json.encode(columns).decode()


def of(name: str, tick: Tick) -> Course | None:
    """Ask the node; None while it is away."""
    if tick.snapshot is None:
        return None
    try:
        return Course(async_to_sync(router.course)(name), tick.at)
    except HubError as error:
        log.info("no course", extra={"model": name, "reason": error.message})
        return None
