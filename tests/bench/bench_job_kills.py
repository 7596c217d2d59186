"""One job of a hub while all that is around it is killed, and what is left of it at its end."""

import logging
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import django
import openai
import psutil
from asgiref.sync import async_to_sync
from django.test import override_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
logging.disable(logging.INFO)
django.setup()  # the router reads the settings of a web process

from inference import router  # noqa: E402
from tests import servers  # noqa: E402
from tests.bench import report  # noqa: E402
from tests.training import job_hubs  # noqa: E402
from tests.training.jobs import tiny_base  # noqa: E402
from tests.training.tracking import mlflows  # noqa: E402
from training import contract  # noqa: E402

KILLS, SEED = 20, 20261126
EPOCHS, ROWS = 150, 12
RECIPE = {"n_epochs": EPOCHS, "batch_size": 1}
STEPS = EPOCHS * ROWS
LONGEST_S = 8.0  # from one kill to the next, where it does not wait for steps
TRACKER_S = 1.5  # in which a tracker is killed
PARTS = ("training", "worker", "node", "valkey", "tracker")
LEFT_S = 60.0
Kill = tuple[str, signal.Signals]
JOBS: dict[str, Sequence[Kill]] = {
    "training, worker, node, Valkey and tracker": [(one, signal.SIGKILL) for one in PARTS * 4],
    "the worker": [("worker", signal.SIGKILL)] * KILLS,
    "the worker, by SIGTERM": [("worker", signal.SIGTERM)] * KILLS,
}


# --- one job --------------------------------------------------------------------------------------


def disturbed(
    hub: servers.Hub, client: openai.OpenAI, kills: Sequence[Kill], chance: random.Random
) -> tuple[str, Counter[str]]:
    """Give a job that has succeeded, and what was killed while it went on."""
    job, told = job_hubs.submit(client, hyperparameters=RECIPE), Counter[str]()
    job_hubs.until(client, job.id, "starting", "running")
    for at, (what, number) in enumerate(chance.sample(kills, len(kills)), 1):
        _wait(hub, job.id, at * STEPS // (len(kills) + 2), chance)
        phase = _phase(hub, job.id)
        job_hubs.kill(hub, job.id, what, number)
        told[phase] += 1
        _say(f"{at}: {what} by {number.name} while {phase}")
    job_hubs.until(client, job.id, "succeeded")
    return job.id, told


def _wait(hub: servers.Hub, job_id: str, step: int, chance: random.Random) -> None:
    """For a random time, whatever the job does meanwhile, or else for a random step."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0.0, LONGEST_S))
    else:
        job_hubs.after_step(hub, job_id, step + chance.randrange(STEPS // (2 * KILLS)))


def _phase(hub: servers.Hub, job_id: str) -> str:
    """Say what the job's process did last, or that there was none."""
    if not job_hubs.trainings(job_id):
        return "between attempts"
    events = contract.read_events(job_hubs.folder(hub, job_id))
    return ([one.phase for one in events if isinstance(one, contract.PhaseEvent)] or ["starting"])[
        -1
    ]


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


# --- what is left ---------------------------------------------------------------------------------


def faults(
    hub: servers.Hub, client: openai.OpenAI, job_id: str, undisturbed: bytes, count: int = STEPS
) -> list[str]:
    """Name all that is not as if nothing had been, of so many steps."""
    steps = [*range(1, count + 1)]
    in_time: dict[str, Callable[[], bool]] = {
        "a reservation is left": lambda: not _reservations(hub),
        "a process trains": lambda: not job_hubs.trainings(job_id),
        "MLflow has other steps": lambda: in_mlflow(hub, job_id) == steps,
        "a tracker runs on": lambda: not job_hubs.trackers(job_id),
    }
    at_once = {
        "the adapter is another": job_hubs.weights(hub, job_id) == undisturbed,
        "the events have other steps": job_hubs.told_steps(client, job_id) == steps,
        "something half-written is left": not [*job_hubs.folder(hub, job_id).rglob(".*-*")],
    }
    late = [words for words, test in in_time.items() if not _in_time(test)]
    return [*late, *(words for words, is_well in at_once.items() if not is_well)]


def _in_time(test: Callable[[], bool]) -> bool:
    end_s = time.monotonic() + LEFT_S
    while not (is_well := test()) and time.monotonic() < end_s:
        time.sleep(0.2)
    return is_well


def _reservations(hub: servers.Hub) -> list[object]:
    with override_settings(HUB_NODE_ADDRESS=hub.node_address):
        return [*async_to_sync(router.snapshot)().reservations]


def in_mlflow(hub: servers.Hub, job_id: str) -> list[int]:
    """Give the steps of a job's one run there, each as often as it is written."""
    asked = (
        "SELECT step FROM metrics JOIN runs USING (run_uuid)"
        " WHERE key = 'loss' AND runs.name = ? AND runs.status = 'FINISHED' ORDER BY step"
    )
    with sqlite3.connect(hub.data / "mlflow" / "mlflow.sqlite3", timeout=20) as database:
        return [step for (step,) in database.execute(asked, (job_id,))]


def orphans(hub: servers.Hub) -> list[str]:
    """Name the processes that outlive a hub."""
    found = []
    for one in psutil.process_iter(["cmdline", "environ"]):
        said = [*(one.info["cmdline"] or []), *(one.info["environ"] or {}).values()]
        if any(str(hub.data) in words for words in said):
            found.append(" ".join(one.info["cmdline"] or []))
    return found


# --- MLflow's tracker -----------------------------------------------------------------------------


def tracked(trained: Path, folder: Path, chance: random.Random | None) -> tuple[mlflows.Store, int]:
    """Write a spool as it grows in parts; with `chance` the tracker of each part is killed."""
    store, job, count = mlflows.Store(folder / "mlflow"), folder / trained.name, 0
    store.folder.mkdir(parents=True)
    shutil.copytree(trained, job)
    for left in ("tracking.json", "stage.json"):
        (job / left).unlink(missing_ok=True)
    whole = (trained / contract.EVENTS).read_bytes()
    with mlflows.Trackers() as trackers:
        for part in range(1, KILLS + 1) if chance else ():
            (job / contract.EVENTS).write_bytes(whole[: len(whole) * part // KILLS])
            pid = trackers.start(store, job)
            time.sleep(chance.uniform(0.0, TRACKER_S) if chance else 0.0)
            os.kill(pid, signal.SIGKILL)
            count += trackers.ended() == -signal.SIGKILL
        (job / contract.EVENTS).write_bytes(whole)
        if trackers.run(store, job):
            raise RuntimeError(f"{job} could not be written")
    return store, count


def of_trackers(trained: Path, folder: Path) -> report.Row:
    plain, _ = tracked(trained, folder / "plain", None)
    store, count = tracked(trained, folder / "killed", random.Random(SEED))
    is_same = store.content() == plain.content()
    steps = [step for key, step, _ in store.rows("metrics") if key == "loss"]
    is_well = is_same and steps == [*range(1, STEPS + 1)]
    return _row(f"a tracker of its own, killed {count} times", [] if is_well else ["not the same"])


# --- all of it ------------------------------------------------------------------------------------


def _row(what: str, found: list[str]) -> report.Row:
    words = ", ".join(found) or "as undisturbed"
    return report.Row(what, words, "", "", "as undisturbed", "no" if found else "yes")


def of_hub(hub: servers.Hub, folder: Path) -> list[report.Row]:
    client, chance = job_hubs.client_of(hub), random.Random(SEED)
    first = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.until(client, first.id, "succeeded")
    undisturbed, rows = job_hubs.weights(hub, first.id), list[report.Row]()
    for what, kills in JOBS.items():
        began_s = time.perf_counter()
        job_id, told = disturbed(hub, client, kills, chance)
        found, took_s = faults(hub, client, job_id, undisturbed), time.perf_counter() - began_s
        phases = ", ".join(f"{phase} {count}" for phase, count in told.most_common())
        rows.append(_row(f"{what}: {told.total()} times ({phases}), {took_s:.0f} s", found))
        _say(f"{rows[-1]}")
    return [*rows, of_trackers(job_hubs.folder(hub, job_id), folder)]


def main(data: Path) -> None:
    base = tiny_base(data / "base")
    with job_hubs.training_hub(base) as hub:
        rows = of_hub(hub, data)
    rows.append(_row("processes once the hub has ended", orphans(hub)))
    notes = [
        f"A tiny llama of {STEPS} steps on a hub of its own, by the unmodified `openai` client; each row is one job, ended"
        " at random moments (in brackets: what its process was doing). As undisturbed means: the adapter is the same to"
        " the last bit, each step is once in the events and once in its one run of MLflow, nothing half-written is left,"
        " no process trains or tracks, and the node has no reservation."
    ]
    report.save("2f-job-kills", "A job while everything around it is killed", rows, notes)
