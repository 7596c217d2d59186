"""What a job's supervisor and its training process say to each other. Pure; both sides import it.

The supervisor writes `job.json` and starts `python -m training.run job.json`. The process answers with
events, one JSON object a line, on its standard output and, before that, in `OUTPUT/events.ndjson`.
`docs/training.md` tells what is where in the output folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from training.recipes.recipe import Recipe

# Exit codes of the process. Everything else, a signal included, is a crash: start it again.
DONE, OUT_OF_MEMORY, BAD_DATA, PAUSED, FAILED = 0, 12, 64, 75, 1

JOB, EVENTS = "job.json", "events.ndjson"
CHECKPOINTS, RESULT, SCRATCH, EXPORTS = "checkpoints", "result", "scratch", "exports"
PLAN, RECORD, MANIFEST, EVALUATION = "plan.json", "record.json", "manifest.json", "evaluation.json"

Format = Literal["chat", "completion", "preference", "text"]
Phase = Literal[
    "starting", "reading", "loading", "preflight", "training", "evaluating", "saving", "exporting"
]
Command = Literal["pause", "stop", "cancel"]


class Data(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Validated JSONL files, one row a line. Paths are absolute.

    chat: {messages, tools?}; completion: {prompt, completion}; text: {text};
    preference: {prompt | messages, tools?, chosen, rejected}, each a text or a list of messages.
    """

    format: Format
    train: str
    validation: str | None = None
    sha256: str = ""  # of `train`, checked before the first step where given


class Limits(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """None: no limit of ours."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1  # of each process
    processes: Annotated[int, Meta(ge=1, le=64)] = 1  # ranks on this machine, through torchrun
    memory_bytes: Annotated[int, Meta(gt=0)] | None = (
        None  # of the whole process; on a GPU, of the device
    )
    disk_bytes: Annotated[int, Meta(ge=0)] | None = None  # that the output folder may take
    duration_s: Annotated[float, Meta(gt=0)] | None = None  # pause after this long


class Evaluate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is measured after the last step, and said at each evaluation."""

    prompts: list[str] = []  # answered side by side with the base
    guard: str | None = None  # JSONL of another data set that should not become worse
    champions: dict[str, str] = {}  # by name: adapters of the same base, measured on the same rows
    answers: Annotated[int, Meta(ge=0, le=10_000)] = (
        16  # held-out rows that are answered for exact match and validity
    )
    max_tokens: Annotated[int, Meta(ge=1, le=32_768)] = 64


class Job(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`job.json`. Paths are absolute. The same file starts and resumes."""

    id: str
    base: str  # folder in Hugging Face layout, safetensors
    output: str  # folder of this job alone
    data: Data
    recipe: Recipe
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 42
    attempt: Annotated[int, Meta(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    limits: Limits = msgspec.field(default_factory=Limits)
    evaluate: Evaluate = msgspec.field(default_factory=Evaluate)
    exports: list[Literal["merged", "gguf"]] = []
    hub_version: str = ""
    # For the tracker alone, what the hub calls things: base_model, data_set, registered_model ...
    tags: dict[str, str] = {}


# --- events ---------------------------------------------------------------------------------------


class Event(msgspec.Struct, tag_field="type", kw_only=True):
    """`seq` grows by one over all attempts of a job; `at` is in seconds since 1970."""

    seq: int = 0
    at: float = 0.0
    attempt: int = 1


class PhaseEvent(Event, tag="phase"):
    phase: Phase
    done: float | None = None  # part of the phase, 0 to 1


class HeartbeatEvent(Event, tag="heartbeat"):
    """Every 5 s from its own thread, also while one step computes."""

    step: int
    memory_bytes: int


class PlanEvent(Event, tag="plan"):
    """After preflight: what was estimated and what one real step took."""

    plan: dict[str, Any]


class StepEvent(Event, tag="step"):
    """A later attempt may tell a step again, with the same numbers: keep one for each `step`."""

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int  # all that were computed since the first step
    tokens_per_s: float
    memory_bytes: int
    seconds: float
    eta_s: float
    peak_bytes: int = 0  # since the first step of this attempt
    metrics: dict[str, float] = {}  # rewards and margins of DPO


class EvaluationEvent(Event, tag="evaluation"):
    step: int
    loss: float
    metrics: dict[str, float] = {}
    final: bool = False


class SampleEvent(Event, tag="sample"):
    step: int
    prompt: str
    base: str
    answer: str


class CheckpointEvent(Event, tag="checkpoint"):
    """A folder that can be resumed from, and served."""

    step: int
    path: str
    sha256: str  # of its manifest
    loss: float | None = None  # the last evaluation's, else the last step's


class WarningEvent(Event, tag="warning"):
    code: str
    message: str


class ExportEvent(Event, tag="export"):
    kind: Literal["adapter", "model", "merged", "gguf"]
    path: str
    report: dict[str, Any]


class PausedEvent(Event, tag="paused"):
    """Exit code 75: start the same job again to go on."""

    step: int
    code: Literal["asked", "disk_full", "duration", "supervisor_gone"]
    message: str


class DoneEvent(Event, tag="done"):
    """Exit code 0. `stopped` is true after "stop and register now"."""

    step: int
    kind: Literal["adapter", "model"]
    path: str
    sha256: str  # of its manifest
    loss: float
    metrics: dict[str, float] = {}
    stopped: bool = False


class FailedEvent(Event, tag="failed"):
    """`exit_code` is 1, 12 or 64."""

    code: str
    message: str
    exit_code: int = FAILED
    detail: dict[str, Any] = {}


Ended = DoneEvent | PausedEvent | FailedEvent  # the last event of an attempt

AnyEvent = (
    PhaseEvent
    | HeartbeatEvent
    | PlanEvent
    | StepEvent
    | EvaluationEvent
    | SampleEvent
    | CheckpointEvent
    | WarningEvent
    | ExportEvent
    | PausedEvent
    | DoneEvent
    | FailedEvent
)

_decoder = msgspec.json.Decoder(AnyEvent)


def decode(line: bytes) -> AnyEvent:
    """Raises: msgspec.MsgspecError (a ValueError is among its bases for bad values)."""
    event: AnyEvent = _decoder.decode(line)
    return event


def read_events(folder: Path) -> Iterator[AnyEvent]:
    """Give all events of the spool; a torn last line, as a crash leaves it, is passed over."""
    try:
        data = (folder / EVENTS).read_bytes()
    except FileNotFoundError:
        return
    yield from _decoded(data)


def read_on(folder: Path, offset: int) -> tuple[list[AnyEvent], int]:
    """Give the events whose lines ended since `offset` bytes, and the offset to go on from."""
    try:
        with (folder / EVENTS).open("rb") as spool:
            spool.seek(offset)
            data = spool.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    return [*_decoded(whole)], offset + len(whole)


def _decoded(data: bytes) -> Iterator[AnyEvent]:
    for line in data.split(b"\n"):
        try:
            event = decode(line)
        except msgspec.MsgspecError:
            continue
        yield event


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Give what was measured after the last step; empty where nothing was."""
    try:
        return msgspec.json.decode((folder / EVALUATION).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}


def read_job(file: Path) -> Job:
    """Raises: OSError, msgspec.MsgspecError."""
    return msgspec.json.decode(file.read_bytes(), type=Job)


def write_job(job: Job, file: Path) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(job)))
