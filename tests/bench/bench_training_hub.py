"""What the hub adds to a training: the CPU seconds of its own processes beside those of the training process.

Afterwards the very same job file is trained once more by hand, without a hub.
"""

import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tests import servers
from tests.bench import report, trainings
from tests.training import job_hubs
from training import contract

EPOCHS, ROWS = 5, 40  # 50 steps
IDLE_S, LOOK_S = 20.0, 0.25
GOAL = 0.03
HYPERPARAMETERS = {"n_epochs": EPOCHS, "batch_size": 4}


@dataclass(eq=False)
class Meter(threading.Thread):
    """Reads the CPU seconds of every process below the hub's parts, also of those that end meanwhile."""

    hub: servers.Hub
    spent_s: dict[int, tuple[str, float]] = field(default_factory=dict)  # pid -> part, CPU seconds
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        for part in self.hub.processes.values():
            parent = psutil.Process(part.pid)
            for process in [parent, *parent.children(recursive=True)]:
                self._read(process)

    def _read(self, process: psutil.Process) -> None:
        try:
            times, words = process.cpu_times(), " ".join(process.cmdline())
        except psutil.Error:
            return
        kinds = ("training.run", "training.tracking")
        part = next((kind for kind in kinds if kind in words), "hub")
        if words:
            self.spent_s[process.pid] = (part, times.user + times.system)

    def sums(self) -> dict[str, float]:
        self.look()
        found = {"training.run": 0.0, "training.tracking": 0.0, "hub": 0.0}
        for part, seconds in [*self.spent_s.values()]:
            found[part] += seconds
        return found

    def end(self) -> None:
        self._ended.set()
        self.join()


def trained(hub: servers.Hub) -> tuple[str, dict[str, float]]:
    """Give the job, and the CPU seconds that each part spent on it above what it spends idle."""
    client = job_hubs.client_of(hub)
    file_id = job_hubs.upload(client, trainings.rows(ROWS))
    meter = Meter(hub)
    meter.start()
    rest_s = idle(meter)
    before, began_s = meter.sums(), time.monotonic()
    wanted: dict[str, Any] = {"type": "supervised"}
    wanted["supervised"] = {"hyperparameters": HYPERPARAMETERS}
    job = job_hubs.submit(client, training_file=file_id, method=wanted)
    while not tracked(hub, job.id):
        time.sleep(LOOK_S)
    after, took_s = meter.sums(), time.monotonic() - began_s
    meter.end()
    spent = {part: after[part] - before[part] for part in after}
    return job.id, spent | {"hub": spent["hub"] - rest_s * took_s}


def idle(meter: Meter) -> float:
    """Give the CPU seconds a second of a hub that does nothing."""
    time.sleep(IDLE_S / 2)
    before, began_s = meter.sums()["hub"], time.monotonic()
    time.sleep(IDLE_S)
    return (meter.sums()["hub"] - before) / (time.monotonic() - began_s)


def tracked(hub: servers.Hub, job_id: str) -> bool:
    """Wait with one question a while: each costs the hub's web process something, too."""
    done = any(
        isinstance(event, contract.Ended)
        for event in contract.read_events(job_hubs.folder(hub, job_id))
    )
    if not done:
        return False
    headers = {"Authorization": f"Bearer {hub.key}"}
    with hub.client() as client:
        told = client.get(f"{hub.url}/api/v1/training/jobs/{job_id}", headers=headers).json()
    if told["state"] in {"failed", "cancelled"}:
        raise RuntimeError(f"{told}")
    return bool(told["state"] == "succeeded" and told.get("mlflow_run"))


def by_hand(hub: servers.Hub, job_id: str, folder: Path) -> float:
    """Train the job's own file again; give the CPU seconds of the whole process."""
    made = contract.read_job(job_hubs.folder(hub, job_id) / contract.JOB)
    made = msgspec.structs.replace(made, output=str(folder / "alone"))
    before = psutil.Process().cpu_times()
    trainings.run(made)
    after = psutil.Process().cpu_times()
    return float(
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def main(base: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="training-") as made,
        job_hubs.training_hub(base) as hub,
    ):
        job_id, spent = trained(hub)
        steps = trainings.steps(job_hubs.folder(hub, job_id))
        alone_s = by_hand(hub, job_id, Path(made))
    report.save(
        "2c-training-hub",
        "What the hub adds to a training",
        table(spent, alone_s),
        notes(len(steps)),
    )


def table(spent: dict[str, float], alone_s: float) -> list[report.Row]:
    process_s, hub_s, tracker_s = spent["training.run"], spent["hub"], spent["training.tracking"]
    share = hub_s / process_s
    return [
        report.Row(
            "the training process, CPU s (peer: by hand)",
            f"{process_s:.1f}",
            f"{alone_s:.1f}",
            f"{process_s / alone_s:.3f}",
        ),
        report.Row(
            "web, node and worker above their rest, CPU s (peer: the training process)",
            f"{hub_s:.1f}",
            f"{process_s:.1f}",
            f"{share:.3f}",
            f"<= {GOAL:.2f}",
            "yes" if share <= GOAL else "no",
        ),
        report.Row(
            "the tracker, which writes to MLflow once a job, CPU s (peer: the training process)",
            f"{tracker_s:.1f}",
            f"{process_s:.1f}",
            f"{tracker_s / process_s:.3f}",
        ),
    ]


def notes(steps: int) -> list[str]:
    return [
        f"SmolLM2-135M, LoRA as the hub resolves it, batch 4, {steps} steps, from the request to the model that can be called and "
        "its run in MLflow. By hand: `python -m training.run job.json` with the job's own file."
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
