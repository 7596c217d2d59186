"""What trainings ask of the node: how much there is, and the memory of one attempt.

Called by `plans` and by the threads that supervise. A node that is lost is asked again, with the process
that goes on meanwhile.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings

from accounts.models import Visibility
from inference import reservations, veil, wire
from inference.errors import HubError, NodeUnavailable
from inference.models import Model
from inference.node.devices import computes_bf16, cuda_capability
from training.models import Job
from training.recipes.facts import Machine, cuda_machine

MARGIN = 1.05  # of the measured peak, since a step may differ from another
RETRY_S = 1.0
AWAY = "The model node is away; the training waits for it."


def wish(job: Job, pid: int = 0) -> wire.Reserve:
    """Say what an attempt of a job needs, as measured or else as estimated."""
    return wire.Reserve(
        id=job.pk,
        label=f"{job.base} {job.suffix}".strip(),
        claim_bytes=claim_bytes(job),
        device=settings.HUB_DEVICE,
        priority=job.priority,
        is_preemptible=job.is_preemptible,
        pid=pid,
    )


def claim_bytes(job: Job) -> int:
    return int(job.measured_bytes * MARGIN) or job.estimate_bytes


def ask(size_bytes: int, *, is_preemptible: bool = True) -> wire.Planned:
    """Ask what a training of this size would do now. Raises: HubError; NodeUnavailable."""
    wanted = wire.Reserve(
        id="plan",
        label="",
        claim_bytes=size_bytes,
        device=settings.HUB_DEVICE,
        is_preemptible=is_preemptible,
    )
    planned: wire.Planned = async_to_sync(reservations.plan_reservation)(wanted)
    return planned


def machine() -> Machine:
    """Give what a training may have at most. Raises: HubError; NodeUnavailable."""
    found = ask(1)
    if found.device.startswith("cuda"):
        return cuda_machine(cuda_capability(found.device), found.limit_bytes)
    return Machine(device="cpu", bfloat16=computes_bf16(), memory_bytes=found.limit_bytes)


def waiting(job: Job, told: wire.Progress) -> str:
    """Say why a job waits, without the names of models that its team does not see."""
    rows = Model.objects.filter(visibility=Visibility.TEAM).exclude(team=job.team)
    words = veil.text(told.reason, {*rows.values_list("name", flat=True)})
    return f"Waits for memory: {words}."


class Memory:
    """The memory of one attempt. Leave the block once its process has ended."""

    def __init__(self, wanted: wire.Reserve) -> None:
        self._wish = wanted
        self._held: reservations.Held | None = None
        self._again_at = 0.0
        self.reason = ""  # why it must be given back

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def granted(self, tell: Callable[[wire.Progress], bool], tick_s: float) -> wire.Granted | None:
        """Wait until it is lent, or until `tell`, asked at each tick or news, no longer wants it.

        Raises: HubError, where it never can be.
        """
        last = wire.Progress(state="queued")
        while tell(last):
            news = self._next(tick_s)
            if isinstance(news, wire.Granted):
                return news
            if isinstance(news, wire.Progress):
                last = news
        return None

    def is_wanted_back(self) -> bool:
        """Read what the node has said meanwhile; `reason` says why."""
        try:
            while not self.reason and (news := self._next(0.0)) is not None:
                if isinstance(news, wire.Yield):
                    self.reason = news.reason
        except HubError as error:  # another node has no room for what runs already
            self.reason = error.message
        return bool(self.reason)

    def resize(self, *, claim_bytes: int = 0, pid: int = 0) -> None:
        """Tell what was measured, and the process; a later node hears it too."""
        self._wish = msgspec.structs.replace(
            self._wish,
            claim_bytes=claim_bytes or self._wish.claim_bytes,
            pid=pid or self._wish.pid,
        )
        if self._held is not None:
            self._held.resize(claim_bytes=claim_bytes, pid=pid)

    def _next(self, timeout_s: float) -> reservations.News | None:
        """Raises: HubError."""
        if self._held is None:
            self._reopen(timeout_s)
            return None
        try:
            return self._held.next(timeout_s)
        except NodeUnavailable:
            self._close()
            self._again_at = time.monotonic() + RETRY_S
            return wire.Progress(state="queued", reason=AWAY)

    def _reopen(self, timeout_s: float) -> None:
        left_s = self._again_at - time.monotonic()
        if left_s <= 0:
            self._open()
        else:
            time.sleep(min(left_s, timeout_s))

    def _open(self) -> None:
        self._held = reservations.Held(self._wish)
        self._held.__enter__()

    def _close(self) -> None:
        if self._held is not None:
            self._held.__exit__(None, None, None)
            self._held = None
