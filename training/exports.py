"""A result in another form: asked for, made by a process of its own, downloaded. The row is the truth.

`turn` is taken by a thread of the worker; one export at a time.
"""

import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit, quotas
from accounts.principals import Principal
from inference import wire
from inference.errors import Conflict, HubError, NotFound
from training import bases, claims, contract, files, jobs, processes, room, states, store
from training.models import Export, Job
from training.recipes import facts

EVERY_S = 1.0
LIMIT_S = 6 * 3600.0
FLOOR_BYTES = 900 * 10**6  # torch, transformers and llama.cpp imported
LOG = "export.log"
BEING_MADE = "It is being made now."
State, Kind = Export.State, Export.Kind


def ask(job: Job, kind: str, who: Principal) -> Export:
    """Want it, again where it failed or is to be made anew.

    Raises: PermissionDenied, Conflict, RateLimited, ModelNotFound.
    """
    jobs.check_held(job, who)
    if job.state != Job.State.SUCCEEDED or not (job.folder() / contract.RESULT).is_dir():
        raise Conflict(states.refusal(job, "it has no result to export."))
    with transaction.atomic():
        row, is_new = Export.objects.get_or_create(job=job, kind=kind)
        if not is_new and row.state == State.RUNNING:
            raise Conflict(BEING_MADE)
        _reserve(row, quotas.Bearer(who.user_id, job.team_id))
        Export.objects.filter(pk=row.pk).update(
            state=State.WAITING, reason="", report=None, size_bytes=0, ended_at=None
        )
        audit.record("job.export", "job", job.pk, pk=job.pk, after={"kind": kind})
    row.refresh_from_db()
    return row


def find(job: Job, kind: str) -> Export:
    """Give one that can be downloaded. Raises: NotFound, Conflict."""
    row = job.made.filter(kind=kind).first()
    if row is None:
        raise NotFound(f"The job was not exported as `{kind}`.")
    if row.state != State.READY or not row.folder().is_dir():
        raise Conflict(f"The export is {row.state}. {row.reason}".strip())
    return row


def remove(job: Job, kind: str, who: Principal) -> None:
    """Take it away and give its bytes back. Raises: PermissionDenied, NotFound, Conflict."""
    jobs.check_held(job, who)
    row = job.made.filter(kind=kind).first()
    if row is None:
        raise NotFound(f"The job was not exported as `{kind}`.")
    with transaction.atomic():
        if not Export.objects.filter(pk=row.pk).exclude(state=State.RUNNING).delete()[0]:
            raise Conflict(BEING_MADE)
        quotas.release(files.STORAGE, row.holder)
        audit.record("job.export_remove", "job", job.pk, pk=job.pk, after={"kind": kind})
    shutil.rmtree(row.folder(), ignore_errors=True)


def _reserve(row: Export, bearer: quotas.Bearer) -> None:
    """Count what it will take, in place of what it took. Raises: RateLimited, ModelNotFound."""
    with transaction.atomic():
        quotas.release(files.STORAGE, row.holder)
        files.reserve(bearer, row.holder, _expected_bytes(row))


def _expected_bytes(row: Export) -> int:
    """A merged model is as large as its base, a GGUF file has two bytes for each parameter."""
    base = bases.find(row.job.base)[1].resolve()
    match row.kind:
        case Kind.ADAPTER:
            return room.bytes_in(row.job.folder() / contract.RESULT)
        case Kind.MERGED:
            return room.bytes_in(base)
    return 2 * facts.read_base(base).parameters


# --- in the worker --------------------------------------------------------------------------------


def start(stopped: threading.Event) -> threading.Thread:
    return processes.looked_after("exports", partial(turn, stopped), EVERY_S, stopped)


def turn(stopped: threading.Event) -> None:
    """Make what waits, and what a crash left half made."""
    rows = Export.objects.filter(state__in=(State.WAITING, State.RUNNING)).select_related("job")
    for row in rows.order_by("created_at"):
        if stopped.is_set():
            return
        with processes.alone(row.job.folder() / "exports") as lock:
            if lock is not None:
                _make(row, lock, stopped)


def _make(row: Export, lock: IO[str], stopped: threading.Event) -> None:
    if not Export.objects.filter(pk=row.pk, state=row.state).update(state=State.RUNNING):
        return  # it was removed meanwhile
    try:
        _count(row)
        told = _run(row, lock, stopped)
    except (HubError, OSError) as error:
        words = error.sentence if isinstance(error, HubError) else f"{error.strerror or error}."
        told = {"error": words}
    if told is None:
        return  # we were stopped: the next worker makes it
    fields: dict[str, Any] = {"state": State.READY, "report": told.get("report")}
    if "error" in told:
        fields = {"state": State.FAILED, "reason": told["error"]}
    _ended(row, fields | {"size_bytes": room.bytes_in(row.folder()), "ended_at": timezone.now()})


def _count(row: Export) -> None:
    """One that was wanted with the job counts from now on. Raises: RateLimited, ModelNotFound."""
    if not quotas.is_held(files.STORAGE, row.holder):
        _reserve(row, quotas.Bearer(row.job.owner_id, row.job.team_id))


def _ended(row: Export, fields: dict[str, Any]) -> None:
    """From now on it counts for what lies on the disk; nothing does where it failed."""
    with transaction.atomic():
        Export.objects.filter(pk=row.pk).update(**fields)
        if fields["state"] == State.READY:
            quotas.settle(files.STORAGE, row.holder, fields["size_bytes"])
        else:
            quotas.release(files.STORAGE, row.holder)


def _run(row: Export, lock: IO[str], stopped: threading.Event) -> dict[str, Any] | None:
    """Give the last line of the process; None when told to stop. Raises: HubError, OSError."""
    base = bases.find(row.job.base)[1].resolve()
    store.check_disk(2 * room.bytes_in(base) + room.promised_bytes(but=row.holder))
    shutil.rmtree(row.folder(), ignore_errors=True)
    with claims.Memory(_wish(row, base)) as memory:
        if memory.granted(lambda _told: not stopped.is_set(), EVERY_S) is None:
            return None
        process = _popen(row, base, lock)
        memory.resize(pid=process.pid)
        out = _heard(process, stopped)
    return None if out is None else _told(out)


def _wish(row: Export, base: Path) -> wire.Reserve:
    """The original and the export are both held in float32, to be compared."""
    return wire.Reserve(
        id=f"{row.job_id}-{row.kind}",
        label=f"{row.job.base} as {row.kind}",
        claim_bytes=FLOOR_BYTES + 2 * 4 * facts.read_base(base).parameters,
        device="cpu",
        is_preemptible=False,
    )


def _popen(row: Export, base: Path, lock: IO[str]) -> "subprocess.Popen[bytes]":
    """It holds the lock, too: where it outlives us, nobody makes the same beside it."""
    result = row.job.folder() / contract.RESULT
    words = ["--", str(base), str(result), str(row.folder()), row.kind, *row.job.prompts]
    with (row.job.folder() / LOG).open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "training.run.export", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env=processes.environment(),
            cwd=settings.BASE_DIR,
            pass_fds=(lock.fileno(),),
            process_group=0,
        )


def _heard(process: "subprocess.Popen[bytes]", stopped: threading.Event) -> bytes | None:
    """Wait for its end; end it when we are told to stop, or it takes too long."""
    waited_s = 0.0
    while waited_s < LIMIT_S and not stopped.is_set():
        try:
            return process.communicate(timeout=EVERY_S)[0]
        except subprocess.TimeoutExpired:
            waited_s += EVERY_S
    process.kill()
    process.communicate()
    return None if stopped.is_set() else b""


def _told(out: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(out.strip().rpartition(b"\n")[2])
    except ValueError:
        return {"error": "The process that makes it ended without a word."}
    return found
