"""/v1/fine_tuning/jobs: made, listed, followed, paused, resumed, cancelled."""

from collections.abc import Callable
from typing import Any

import msgspec
from asgiref.sync import sync_to_async

from accounts.principals import Principal
from inference.api.call import Call
from inference.errors import NotFound
from inference.openai import bounded_json, fine_tuning
from inference.openai.files import Page
from training import jobs, sets
from training.api import shown_jobs
from training.models import Checkpoint, Job, JobEvent


async def create(call: Call) -> None:
    call.request.refuse_query()
    call.request.require_type(b"application/json")
    wanted = fine_tuning.create(await call.fields(bounded_json.MAX_BYTES))
    asked = fine_tuning.asked(wanted)
    job = await sync_to_async(_submit)(wanted, asked, call.principal)
    await call.reply.json(msgspec.json.encode(job))


def _submit(wanted: fine_tuning.Create, asked: fine_tuning.Asked, who: Principal) -> dict[str, Any]:
    version = sets.ensure(wanted.training_file, who, wanted.validation_file or "")
    job = jobs.Wanted(
        base=wanted.model,
        training_type=asked.training_type,
        version=version,
        config=asked.config,
        where=asked.where,
        suffix=wanted.suffix or "",
        seed=wanted.seed,
        metadata=wanted.metadata or {},
    )
    return shown_jobs.job(jobs.submit(job, who))


async def listing(call: Call) -> None:
    asked = call.request.query("after", "limit", "metadata", maps=("metadata",))
    wanted = fine_tuning.query(asked)

    def read() -> tuple[list[dict[str, Any]], bool]:
        rows, has_more = jobs.page(call.principal, wanted.after, wanted.limit, wanted.selects)
        return [shown_jobs.job(row) for row in rows], has_more

    await _page(call, *await sync_to_async(read)())


async def retrieve(call: Call) -> None:
    call.request.refuse_query()
    await _show(call, lambda job, _who: job)


async def cancel(call: Call) -> None:
    call.request.refuse_query()
    await _show(call, jobs.cancel)


async def pause(call: Call) -> None:
    call.request.refuse_query()
    await _show(call, jobs.pause)


async def resume(call: Call) -> None:
    call.request.refuse_query()
    await _show(call, jobs.resume)


async def events(call: Call) -> None:
    wanted = fine_tuning.query(call.request.query("after", "limit"))

    def read() -> tuple[list[dict[str, Any]], bool]:
        job = jobs.find(call.args["job_id"], call.principal)
        rows = JobEvent.objects.filter(job=job).order_by("-seq")
        if wanted.after:
            rows = rows.filter(seq__lt=_number(job, wanted.after, "ftevent-"))
        found = [shown_jobs.event(row) for row in rows[: wanted.limit + 1]]
        return found[: wanted.limit], len(found) > wanted.limit

    await _page(call, *await sync_to_async(read)())


async def checkpoints(call: Call) -> None:
    wanted = fine_tuning.query(call.request.query("after", "limit"))

    def read() -> tuple[list[dict[str, Any]], bool]:
        job = jobs.find(call.args["job_id"], call.principal)
        rows = Checkpoint.objects.filter(job=job).exclude(model="").order_by("-step")
        if wanted.after:
            rows = rows.filter(step__lt=_number(job, wanted.after, "ftckpt-"))
        found = [shown_jobs.checkpoint(row) for row in rows[: wanted.limit + 1]]
        return found[: wanted.limit], len(found) > wanted.limit

    await _page(call, *await sync_to_async(read)())


def _number(job: Job, given: str, prefix: str) -> int:
    """Read the end of an id that `shown_jobs` made. Raises: NotFound."""
    start, _, number = given.rpartition("-")
    if start != prefix + shown_jobs.bare(job.pk) or not (number.isascii() and number.isdigit()):
        raise NotFound(f"There is no `{given}` in this job.")
    return int(number)


async def _show(call: Call, verb: Callable[[Job, Principal], Job]) -> None:
    def done() -> dict[str, Any]:
        job = jobs.find(call.args["job_id"], call.principal)
        return shown_jobs.job(verb(job, call.principal))

    await call.reply.json(msgspec.json.encode(await sync_to_async(done)()))


async def _page(call: Call, entries: list[dict[str, Any]], has_more: bool) -> None:
    first, last = (entries[0]["id"], entries[-1]["id"]) if entries else (None, None)
    await call.reply.json(msgspec.json.encode(Page(entries, first, last, has_more)))
