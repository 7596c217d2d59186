"""Whatever changes something under /v1 writes a row of the audit log, by whoever held the key."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async

from accounts import keys
from accounts.models import AuditRow, User
from hub.asgi import application
from inference import catalog
from inference.models import Model
from tests.accounts.conftest import MakeUser, session_of
from tests.accounts.route_table import V1
from tests.training import jobs
from training.models import DataSet, DataSetVersion, Job

pytestmark = pytest.mark.django_db(transaction=True)
CHANGING = {f"{method} {path}" for path, line in V1.items() for method in line if method != "GET"}
JSONL = ("own.jsonl", b"{}\n", "application/octet-stream")
BEGUN = {"filename": "own.jsonl", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"}
# They answer, and the ledger of use has a row of each.
ANSWERS = {f"POST {path}" for path, line in V1.items() if "inference" in line.get("POST", "")}
UNTOLD = {"POST /v1/uploads/{upload_id}/parts"}  # a part of what was told of at its beginning


class Caller:
    """Somebody with a key, and a training in a state of choice."""

    def __init__(self, owner: User, client: httpx.AsyncClient, folder: Path) -> None:
        self.owner, self.client, self.folder = owner, client, folder

    async def send(self, method: str, path: str, **content: Any) -> Any:
        answer = await self.client.request(method, f"/v1/{path}", **content)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def file(self) -> str:
        return str((await add(self))["id"])

    async def upload(self) -> str:
        return str((await self.send("POST", "uploads", json=BEGUN))["id"])

    async def part(self, upload: str) -> str:
        made = await self.send("POST", f"uploads/{upload}/parts", files={"data": JSONL})
        return str(made["id"])

    async def change(self, state: str, verb: str) -> Any:
        job = await sync_to_async(self._job)(state)
        return await self.send("POST", f"fine_tuning/jobs/{job}/{verb}")

    def _job(self, state: str) -> str:
        data = DataSet.objects.create(name="rows", owner=self.owner)
        version = DataSetVersion.objects.create(data_set=data, number=1, address="c" * 64)
        about = {"base": "m", "training_type": "lora", "owner": self.owner}
        return str(Job.objects.create(version=version, state=state, **about).pk)


async def complete(one: Caller) -> Any:
    upload = await one.upload()
    body = {"part_ids": [await one.part(upload)]}
    return await one.send("POST", f"uploads/{upload}/complete", json=body)


async def cancel(one: Caller) -> Any:
    return await one.send("POST", f"uploads/{await one.upload()}/cancel")


async def remove(one: Caller) -> Any:
    return await one.send("DELETE", f"files/{await one.file()}")


async def add(one: Caller) -> Any:
    fields = {"data": {"purpose": "fine-tune"}, "files": {"file": JSONL}}
    return await one.send("POST", "files", **fields)


async def submit(one: Caller) -> Any:
    path = str(await sync_to_async(jobs.tiny_base)(one.folder / "base"))
    base = {"name": "base", "kind": "llm", "engine": "llm_transformers", "path": path}
    await Model.objects.acreate(**base)
    await sync_to_async(catalog.invalidate)()
    body = {"model": "base", "training_file": await one.file()}
    return await one.send("POST", "fine_tuning/jobs", json=body)


Act = Callable[[Caller], Awaitable[Any]]
ACTS: dict[str, tuple[str, Act]] = {
    "POST /v1/files": ("file.add", add),
    "DELETE /v1/files/{file_id}": ("file.remove", remove),
    "POST /v1/uploads": ("file.upload", Caller.upload),
    "POST /v1/uploads/{upload_id}/complete": ("file.add", complete),
    "POST /v1/uploads/{upload_id}/cancel": ("file.give_up", cancel),
    "POST /v1/fine_tuning/jobs": ("job.submit", submit),
    "POST /v1/fine_tuning/jobs/{job_id}/cancel": (
        "job.move",
        lambda one: one.change("queued", "cancel"),
    ),
    "POST /v1/fine_tuning/jobs/{job_id}/pause": (
        "job.move",
        lambda one: one.change("queued", "pause"),
    ),
    "POST /v1/fine_tuning/jobs/{job_id}/resume": (
        "job.move",
        lambda one: one.change("paused", "resume"),
    ),
}


def test_every_route_that_changes_something_is_tried() -> None:
    assert set(ACTS) | ANSWERS | UNTOLD == CHANGING


@pytest.fixture
async def caller(person: MakeUser, tmp_path: Path) -> AsyncIterator[Caller]:
    owner = await sync_to_async(person)("ada", "admin")
    key = await sync_to_async(_key)(owner)
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type] # scopes are plain dicts
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers={"x-api-key": key}
    ) as client:
        yield Caller(owner, client, tmp_path)


def _key(owner: User) -> str:
    return keys.issue(owner, "k", sorted(owner.scopes), by=session_of(owner))[1]


@pytest.mark.parametrize("route", ACTS)
async def test_each_verb_says_who_did_it(caller: Caller, route: str) -> None:
    action, act = ACTS[route]
    await act(caller)
    row = await AuditRow.objects.filter(action=action).order_by("-seq").afirst()
    assert row is not None, [row.action async for row in AuditRow.objects.all()]
    assert (row.actor, row.actor_kind, row.address) == ("ada", "key", "127.0.0.1")
