"""Hubs that train: web, node, worker and Valkey as processes, and jobs through the stock client."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import openai
import psutil

from tests import servers
from tests.training.jobs import chats
from training import contract

WAIT_S = 150
POLL_S = 0.05
OVER = ("succeeded", "failed", "cancelled")
SCOPES = ["inference", "training:*", "files:*", "datasets:*", "models:read", "status:read"]
KEYS: dict[str, dict[str, Any]] = {
    "default": {"scopes": SCOPES},
    "reader": {"scopes": ["training:read", "files:*"]},
}


@contextmanager
def training_hub(
    base: Path, *more: dict[str, Any], works: bool = True, **env: str
) -> Iterator[servers.Hub]:
    """Run a hub whose model `base` can be trained, once it has a worker."""
    row = {"name": "base", "kind": "llm", "engine": "llm_transformers", "path": str(base)}
    with servers.hub([row, *more], {}, KEYS, AI_HUB_DEVICE="cpu", **env) as hub:
        if works:
            start_worker(hub)
        yield hub


def start_worker(hub: servers.Hub) -> None:
    servers.start(hub, "worker", "run_worker")


def client_of(hub: servers.Hub, key: str = "default") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{hub.url}/v1", api_key=hub.keys[key], max_retries=0)


def upload(client: openai.OpenAI, rows: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return client.files.create(
        file=("facts.jsonl", io.BytesIO(text.encode())), purpose="fine-tune"
    ).id


def submit(client: openai.OpenAI, **more: Any) -> Any:
    wanted = {"model": "base", "training_file": "", "seed": 7, **more}
    wanted["training_file"] = wanted["training_file"] or upload(client, chats(12))
    return client.fine_tuning.jobs.create(**wanted)


def until(client: openai.OpenAI, job_id: str, *statuses: str) -> Any:
    """Follow a job to one of these of its own states."""
    return when(
        client, job_id, lambda job: job.x_hub_status in statuses, ends=bool({*statuses} & {*OVER})
    )


def when(
    client: openai.OpenAI, job_id: str, test: Callable[[Any], bool], *, ends: bool = False
) -> Any:
    """Follow a job until the test passes; one that is over before is an error."""
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        job: Any = client.fine_tuning.jobs.retrieve(job_id)
        if test(job):
            return job
        assert job.status not in OVER, (ends, job)
        time.sleep(POLL_S)
    raise TimeoutError(f"{job}")


# --- what lies on the disk ------------------------------------------------------------------------


def folder(hub: servers.Hub, job_id: str) -> Path:
    return Path(hub.data) / "jobs" / job_id


def weights(hub: servers.Hub, job_id: str) -> bytes:
    return (folder(hub, job_id) / contract.RESULT / "adapter_model.safetensors").read_bytes()


def after_step(hub: servers.Hub, job_id: str, step: int) -> int:
    """Wait until a step was told in the spool, and give the last one."""
    offset, last, end_s = 0, 0, time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        events, offset = contract.read_on(folder(hub, job_id), offset)
        last = max([last, *(e.step for e in events if isinstance(e, contract.StepEvent))])
        if last >= step or any(isinstance(e, contract.DoneEvent) for e in events):
            return last
        time.sleep(POLL_S)
    raise TimeoutError(f"{job_id} did not come to step {step}: {hub.log('worker')[-2000:]}")


def told_steps(client: openai.OpenAI, job_id: str) -> list[int]:
    """Give the steps of all events that have figures, oldest first."""
    events = [*client.fine_tuning.jobs.list_events(job_id, limit=100)]
    told = [cast("dict[str, int]", e.data)["step"] for e in events if e.type == "metrics"]
    return told[::-1]


def messages(client: openai.OpenAI, job_id: str) -> list[str]:
    return [one.message for one in client.fine_tuning.jobs.list_events(job_id, limit=100)]


# --- processes ------------------------------------------------------------------------------------


def trainings(job_id: str) -> list[psutil.Process]:
    """Give the processes that train a job."""
    return _at_work("training.run", job_id)


def trackers(job_id: str) -> list[psutil.Process]:
    """Give the processes that write a job to MLflow."""
    return _at_work("training.tracking", job_id)


def _at_work(module: str, job_id: str) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = " ".join(one.info["cmdline"] or [])
        if module in words and job_id in words and one.status() != psutil.STATUS_ZOMBIE:
            found.append(one)
    return found


def gone(job_id: str) -> None:
    """Wait until no process trains a job. Raises: psutil.TimeoutExpired."""
    for one in trainings(job_id):
        one.wait(WAIT_S)


def kill(hub: servers.Hub, job_id: str, what: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a part of the hub, and start it again where nobody else does, once it has ended."""
    if what in {"training", "tracker"}:
        for one in trainings(job_id) if what == "training" else trackers(job_id):
            one.send_signal(number)
        return
    process = hub.processes[what]
    os.kill(process.pid, number)
    process.wait()
    restart = {
        "worker": lambda: start_worker(hub),
        "node": lambda: servers.start(hub, "node", "serve_models"),
        "valkey": lambda: servers.start_valkey(hub),
    }
    restart[what]()
