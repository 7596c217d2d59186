"""One job's spool, written to one run of MLflow over all its attempts."""

import tempfile
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from training import contract
from training.tracking import bookmark, figures, store

BATCH_BYTES = 1 << 20  # of the spool, between two bookmarks
MOST_METRICS = 1000  # Source: MLflow's REST API, runs/log-batch
FILES = (contract.JOB, contract.PLAN, contract.RECORD, contract.EVALUATION)
GATE = "gate.json"  # what the hub decided of the result
DATA_REPORT = "report.json"  # beside the training file
RESULT = "result"


class Tracker:
    """Every step may be done again: a crash comes between any two."""

    def __init__(self, folder: Path, client: MlflowClient, experiment: str) -> None:
        """Raises: OSError, msgspec.MsgspecError where the folder holds no job."""
        self.folder, self.client, self.experiment = folder, client, experiment
        self.job = contract.read_job(folder / contract.JOB)
        self.mark = bookmark.read(folder)

    def catch_up(self) -> bool:
        """Write what is new; tell whether there was any. Raises: MlflowException, OSError."""
        wrote = False
        while part := self._unread():
            self._write([event for event in map(_decoded, part.splitlines()) if event])
            self.mark.offset_bytes += len(part)
            bookmark.save(self.folder, self.mark)
            wrote = True
        restaged, ended = self._restage(), self._end_as_asked()
        return wrote or restaged or ended

    def _unread(self) -> bytes:
        """Give whole lines that follow the bookmark; a line that is being written waits."""
        with (self.folder / contract.EVENTS).open("rb") as spool:
            spool.seek(self.mark.offset_bytes)
            part = spool.read(BATCH_BYTES)
            if part and b"\n" not in part:
                part += spool.readline()
        return part[: part.rfind(b"\n") + 1]

    def _write(self, events: list[contract.AnyEvent]) -> None:
        if not self.mark.run_id:
            tags = figures.tags(self.job)
            self.mark.run_id = store.run_of(self.client, self.experiment, self.job.id, tags)
            self.mark.experiment = self.experiment
            bookmark.save(self.folder, self.mark)
        metrics = [metric for event in events for metric in self._metrics(event)]
        if self.mark.step and not self.mark.is_described:
            self._describe()
        for at in range(0, len(metrics), MOST_METRICS):
            self.client.log_batch(self.mark.run_id, metrics[at : at + MOST_METRICS])
        for event in events:
            self._end(event)

    # --- figures ----------------------------------------------------------------------------------

    def _metrics(self, event: contract.AnyEvent) -> list[Metric]:
        """Give those of a step that was not told before; the time makes a repeated write the same."""
        if not self._is_new(event):
            return []
        step, at_ms = self._step(event), int(event.at * 1000)
        return [Metric(name, value, at_ms, step) for name, value in figures.of_event(event).items()]

    def _is_new(self, event: contract.AnyEvent) -> bool:
        match event:
            case contract.StepEvent(step=step) if step > self.mark.step:
                self.mark.step = step
            case contract.EvaluationEvent(step=step) if step > self.mark.evaluated_step:
                self.mark.evaluated_step = step
            case _:
                return False
        return True

    @staticmethod
    def _step(event: contract.AnyEvent) -> int:
        return event.step if isinstance(event, contract.StepEvent | contract.EvaluationEvent) else 0

    def _describe(self) -> None:
        """Once, with the first step: by then the record is written, and the recipe stays."""
        found = figures.parameters(self.job, figures.record(self.folder))
        params = [Param(name, value) for name, value in found.items()]
        self.client.log_batch(self.mark.run_id, params=params)
        self.client.log_text(self.mark.run_id, figures.environment(), "environment.txt")
        self.mark.is_described = True

    # --- begin and end of attempts ----------------------------------------------------------------

    def _end(self, event: contract.AnyEvent) -> None:
        match event:
            case contract.PhaseEvent(phase="starting"):
                self._status("RUNNING", {"hub.attempt": str(event.attempt)})
            case contract.PausedEvent():
                self._status("SCHEDULED", {"hub.paused": f"{event.code}: {event.message}"})
            case contract.FailedEvent():
                status = "KILLED" if event.code == "cancelled" else "FAILED"
                self._keep_files()
                self._status(status, {"hub.error": f"{event.code}: {event.message}"})
            case contract.DoneEvent():
                self._keep_files()
                self._keep_result(event)
                self._register(event)
                self._status("FINISHED", {"hub.result_sha256": event.sha256})

    def _status(self, status: str, tags: dict[str, str]) -> None:
        told = [RunTag(name, value[: figures.LONGEST_VALUE]) for name, value in tags.items()]
        self.client.log_batch(self.mark.run_id, tags=told)
        if status in {"RUNNING", "SCHEDULED"}:
            self.client.update_run(self.mark.run_id, status=status)
        else:
            self.client.set_terminated(self.mark.run_id, status)
        self.mark.status = status

    def _keep_files(self) -> None:
        run_id = self.mark.run_id
        for name in FILES:
            self._keep(self.folder / name)
        report = Path(self.job.data.train).with_name(DATA_REPORT)
        self._keep(report, "data_set")
        if lines := list(figures.samples(self.folder)):
            self.client.log_text(run_id, "\n".join(lines) + "\n", "samples.jsonl")

    def _keep(self, file: Path, place: str | None = None) -> None:
        if file.exists():
            self.client.log_artifact(self.mark.run_id, str(file), place)

    def _keep_result(self, event: contract.DoneEvent) -> None:
        """A whole model stays where it is: its manifest names every file by digest."""
        place = Path(event.path)
        if event.kind == "adapter":
            self.client.log_artifacts(self.mark.run_id, str(place), RESULT)
            return
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder, "place.txt")
            note.write_text(f"{place}\n")
            for file in (place / contract.MANIFEST, note):
                self.client.log_artifact(self.mark.run_id, str(file), RESULT)

    def _register(self, event: contract.DoneEvent) -> None:
        name = self.job.tags.get("registered_model") or Path(self.job.base).name
        source = f"runs:/{self.mark.run_id}/{RESULT}"
        tags = figures.tags(self.job) | {"hub.sha256": event.sha256}
        self.mark.version = store.version_of(self.client, name, self.mark.run_id, source, tags)
        self.mark.model = name

    def _restage(self) -> bool:
        stage = bookmark.wanted_stage(self.folder)
        if not self.mark.version or self.mark.stage == stage:
            return False
        self._keep(self.folder / GATE)
        store.put_stage(self.client, self.mark.model, self.mark.version, stage)
        self.mark.stage = stage
        bookmark.save(self.folder, self.mark)
        return True

    def _end_as_asked(self) -> bool:
        end = bookmark.wanted_end(self.folder)
        if end is None or not bookmark.wants_end(self.folder, self.mark):
            return False
        self._keep_files()
        self._status(end.status, {"hub.error": end.reason})
        bookmark.save(self.folder, self.mark)
        return True


def _decoded(line: bytes) -> contract.AnyEvent | None:
    """A crash leaves half a line: it is passed over, as everywhere."""
    try:
        return contract.decode(line)
    except ValueError:
        return None
