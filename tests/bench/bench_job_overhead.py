"""What the hub adds to a training: a job through it beside `python -m training.run job.json` by hand.

The same job.json, one run after the other. CPU seconds a step count the training process
and, of the hub's side, web, node, worker and Valkey too; the first step to the last but one, so that no load is in them.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import openai
import psutil

from tests import servers
from tests.bench import report
from tests.bench.trainings import rows
from tests.training import job_hubs
from training import contract

ROUNDS, ROWS, EPOCHS = 2, 14, 1
STEPS = ROWS * EPOCHS
GOAL = 1.03
POLL_S = 0.02
LIMIT_S = 200.0
ROOT = Path(__file__).parents[2]
Processes = Callable[[], list[psutil.Process]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one step: CPU seconds of the training process, of all that ran for it, and the clock's."""

    own_s: float
    all_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    own_s: float
    others_s: float
    at_s: float  # when the step was told


def main(data: Path) -> None:
    base = Path(os.environ["AI_HUB_MODELS"]) / "smollm2-135m"
    hubs, bare = list[Cost](), list[Cost]()
    with job_hubs.training_hub(base) as hub:
        client = job_hubs.client_of(hub)
        file = job_hubs.upload(client, rows(ROWS))
        for at in range(ROUNDS):
            cost, folder = through(hub, client, file)
            hubs.append(cost)
            bare.append(by_hand(data / f"bare-{at}", folder))
    report.save("2h-job-overhead", "What the hub adds to a training", _rows(hubs, bare), [_note()])


def through(hub: servers.Hub, client: openai.OpenAI, file: str) -> tuple[Cost, Path]:
    """Train by the hub, and give the folder, too, whose job.json is trained by hand."""
    wanted = {"n_epochs": EPOCHS, "batch_size": 1}
    job = job_hubs.submit(client, training_file=file, hyperparameters=wanted)
    folder = job_hubs.folder(hub, job.id)
    parts = [psutil.Process(one.pid) for one in hub.processes.values()]
    cost = _cost(folder, lambda: job_hubs.trainings(job.id), parts)
    client.fine_tuning.jobs.cancel(job.id)  # what comes behind the steps is not measured
    job_hubs.gone(job.id)
    return cost, folder


def by_hand(output: Path, like: Path) -> Cost:
    """Train with the very same job.json, as long as steps are measured."""
    output.mkdir(parents=True)
    made = contract.read_job(like / contract.JOB)
    contract.write_job(msgspec.structs.replace(made, output=str(output)), output / contract.JOB)
    command = [sys.executable, "-m", "training.run", str(output / contract.JOB)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        cost = _cost(output, lambda: [psutil.Process(process.pid)], [])
        process.kill()
    return cost


def _cost(folder: Path, training: Processes, others: list[psutil.Process]) -> Cost:
    first = _at_step(folder, 1, training, others)
    last = _at_step(folder, STEPS - 1, training, others)
    count = STEPS - 2
    own = (last.own_s - first.own_s) / count
    more = (last.others_s - first.others_s) / count
    return Cost(own, own + more, (last.at_s - first.at_s) / count)


def _at_step(folder: Path, step: int, training: Processes, others: list[psutil.Process]) -> Sample:
    """Wait until a step is told, and read what was computed until then. Raises: TimeoutError."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        for event in contract.read_events(folder):
            if isinstance(event, contract.StepEvent) and event.step == step:
                return Sample(_cpu_s(training()), _cpu_s(others), event.at)
        time.sleep(POLL_S)
    raise TimeoutError(f"{folder.name} did not come to step {step}")


def _cpu_s(processes: list[psutil.Process]) -> float:
    """Of processes with all that they started and that has not ended; a training is counted apart."""
    found = 0.0
    for process in processes:
        for one in (process, *_children(process)):
            times = one.cpu_times()
            found += times.user + times.system
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    """Of a part of the hub: its engines and standbys, not the training."""
    return [
        one
        for one in process.children(recursive=True)
        if "training.run" not in " ".join(one.cmdline())
    ]


def _rows(hubs: list[Cost], bare: list[Cost]) -> list[report.Row]:
    whats = {
        "own_s": "CPU seconds a step, of the training process",
        "all_s": "CPU seconds a step, with web, node, worker and Valkey",
        "wall_s": "seconds a step, by the clock",
    }
    return [
        _row(what, [getattr(one, name) for one in hubs], [getattr(one, name) for one in bare])
        for name, what in whats.items()
    ]


def _row(what: str, ours: list[float], peer: list[float]) -> report.Row:
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    met = "yes" if statistics.median(ratios) <= GOAL else "no"
    figures = (report.spread(ours, 3), report.spread(peer, 3), report.spread(ratios, 3))
    return report.Row(what, *figures, f"<= {GOAL}", met)


def _note() -> str:
    return (
        f"SmolLM2-135M, LoRA of rank 16, batch 1, {STEPS} steps of some 110 tokens, {ROUNDS} rounds in turn; peer: the very"
        " same job.json by hand. The clock also counts what else runs on the machine."
    )
