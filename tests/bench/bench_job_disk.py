"""The disk of a hub is filled to its last byte while a job runs, and emptied: run it as root."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

from tests import servers
from tests.bench import bench_job_kills as kills
from tests.bench import report
from tests.training import job_hubs
from tests.training.jobs import tiny_base

DISK_MIB = 700
FILLS = 2
EPOCHS = 25
RECIPE = {"n_epochs": EPOCHS, "batch_size": 1}
STEPS = EPOCHS * kills.ROWS
BLOCK = b"\0" * 4096


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Let hubs lie on a file system of their own. Raises: CalledProcessError."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    subprocess.run(command, check=True)
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def filled(place: Path) -> Path:
    """Take all that is free; give the file that holds it."""
    file = place / "fill"
    with file.open("wb", buffering=0) as out:
        for size in (256, 1):
            with contextlib.suppress(OSError):
                while out.write(BLOCK * size):
                    pass
    return file


def disturbed(hub: servers.Hub, client: openai.OpenAI, place: Path) -> str:
    """Give a job that succeeded although its disk was full at some of its steps."""
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    for at in range(1, FILLS + 1):
        job_hubs.after_step(hub, job.id, at * STEPS // (FILLS + 2))
        file = filled(place)
        job_hubs.gone(job.id)
        file.unlink()
    job_hubs.until(client, job.id, "succeeded")
    return str(job.id)


def main(data: Path) -> None:
    base, place = tiny_base(data / "base"), data / "disk"
    with small_disk(place), job_hubs.training_hub(base) as hub:
        client = job_hubs.client_of(hub)
        plain = job_hubs.submit(client, hyperparameters=RECIPE)
        job_hubs.until(client, plain.id, "succeeded")
        began_s = time.perf_counter()
        job_id = disturbed(hub, client, place)
        found = kills.faults(hub, client, job_id, job_hubs.weights(hub, plain.id), STEPS)
        took_s = time.perf_counter() - began_s
        told = job_hubs.messages(client, job_id)
    paused = sum("Disk full" in one for one in told)
    what = f"the disk full to its last byte {FILLS} times, {took_s:.0f} s"
    words, met = ", ".join(found) or "as undisturbed", "no" if found else "yes"
    row = report.Row(what, words, "", "", "as undisturbed", met)
    notes = [
        f"The data folder, with database, events, checkpoints and MLflow's store, lay on a file system of {DISK_MIB} MiB."
        " It was filled at a step of the job until nothing could be written, and emptied once the job's process had"
        f" ended. The job's row lay there too: it could say that the disk was full {paused} times, and went on each time."
        " As undisturbed means the same as above."
    ]
    report.save("2g-job-disk", "A job on a disk that is full", [row], notes)
