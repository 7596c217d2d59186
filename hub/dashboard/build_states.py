"""What the state of a data set's version or of a training job is called, and how it looks."""

from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext_lazy as _

from hub.dashboard.states import State
from training.models import DataSetVersion, Job

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Version, Training = DataSetVersion.State, Job.State


class Look(NamedTuple):
    word: "_StrPromise"
    icon: str
    tone: str


VERSIONS: dict[str, Look] = {
    Version.WAITING: Look(_("waits to be checked"), "hourglass", "busy"),
    Version.VALIDATING: Look(_("is being checked"), "loader-2", "busy"),
    Version.READY: Look(_("ready"), "circle-check", "good"),
    Version.REFUSED: Look(_("refused"), "ban", "bad"),
    Version.FAILED: Look(_("check failed"), "alert-triangle", "bad"),
    Version.WITHDRAWN: Look(_("withdrawn"), "archive", "quiet"),
}
JOBS: dict[str, Look] = {
    Training.DRAFT: Look(_("draft"), "pencil", "quiet"),
    Training.VALIDATING: Look(_("data is being checked"), "search", "busy"),
    Training.QUEUED: Look(_("queued"), "hourglass", "busy"),
    Training.STARTING: Look(_("starting"), "loader-2", "busy"),
    Training.RUNNING: Look(_("training"), "activity", "busy"),
    Training.PAUSING: Look(_("pausing"), "logout-2", "warn"),
    Training.PAUSED: Look(_("paused"), "player-stop", "warn"),
    Training.EVALUATING: Look(_("evaluating"), "percentage", "busy"),
    Training.REGISTERING: Look(_("registering"), "package", "busy"),
    Training.SUCCEEDED: Look(_("succeeded"), "circle-check", "good"),
    Training.FAILED: Look(_("failed"), "alert-triangle", "bad"),
    Training.CANCELLED: Look(_("cancelled"), "ban", "quiet"),
}


def of_version(version: DataSetVersion) -> State:
    return State(version.state, *VERSIONS[version.state], reason=version.reason)


def of_job(job: Job) -> State:
    """A job that trains says how much of it is done."""
    trains = job.state in {Training.RUNNING, Training.PAUSING} and job.steps > 0
    percent = min(100, 100 * job.step // job.steps) if trains else None
    reason = job.error_message or job.reason
    return State(job.state, *JOBS[job.state], reason=reason, percent=percent)
