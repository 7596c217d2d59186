"""One job from job.json to its result: phases, and how the process ends."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any, cast

import torch

from inference.errors import HubError
from training import contract
from training.recipes import facts
from training.recipes import memory as formula
from training.run import (
    checkpoints,
    evaluation,
    export,
    memory,
    methods,
    packing,
    preflight,
    ranks,
    record,
    rows,
    saving,
)
from training.run.control import Control
from training.run.rendering import Pair, Renderer
from training.run.spool import Spool
from training.run.trainer import Cancelled, Diverged, JobTrainer, Work

HEARTBEAT_S = 5.0
OWN_MISTAKE = "internal_error"
OOM_WORDS = ("can't allocate memory", "out of memory", "not enough memory")


class Heart:
    """Says that the process lives, also while one long step computes."""

    def __init__(self, spool: Spool) -> None:
        self._spool, self._stopped = spool, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            self._spool.emit(
                contract.HeartbeatEvent(step=self._spool.step, memory_bytes=memory.used_bytes())
            )

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def run(job: contract.Job, spool: Spool, control: Control) -> int:
    """Give the exit code; every end is told by an event."""
    heart = Heart(spool)
    try:
        return _run(job, spool, control)
    except Exception as error:
        code = _told(spool, error)
        if code is None:
            raise
        return code
    finally:
        heart.stop()


def _told(spool: Spool, error: Exception) -> int | None:
    """Tell why, and give the exit code, or None where it is our own mistake."""
    if checkpoints.says_full(error):
        return _pause(spool, "disk_full", str(error))
    told = _memory_ran_out(spool.step, error) if is_out_of_memory(error) else _failure(error)
    spool.emit(told)
    return None if told.code == OWN_MISTAKE else told.exit_code


def _failure(error: Exception) -> contract.FailedEvent:
    told = contract.FailedEvent(code=OWN_MISTAKE, message=f"{type(error).__name__}: {error}")
    match error:
        case rows.BadData():
            told.code, told.message, told.detail = error.code, str(error), error.detail
            told.exit_code = contract.BAD_DATA
        case HubError():
            told.code, told.message = error.code, error.message
        case Cancelled():
            told.code, told.message = "cancelled", "the job was cancelled"
        case Diverged():
            told.code, told.message = "diverged", str(error)
        case preflight.TooLarge():
            told.code, told.message, told.detail = "out_of_memory", str(error), error.detail
            told.exit_code = contract.OUT_OF_MEMORY
    return told


def _memory_ran_out(step: int, error: Exception) -> contract.FailedEvent:
    seen = {"used_bytes": memory.used_bytes(), "peak_bytes": memory.peak_bytes()}
    return contract.FailedEvent(
        code="out_of_memory",
        message=f"memory ran out after step {step}: {_first_line(error)}",
        exit_code=contract.OUT_OF_MEMORY,
        detail=seen,
    )


def _first_line(error: Exception) -> str:
    """Without the place in a library's source, which nobody can act on."""
    return str(error).partition("\n")[0].rpartition("] ")[2] or type(error).__name__


def _run(job: contract.Job, spool: Spool, control: Control) -> int:
    torch.set_num_threads(job.limits.threads)
    _refuse_small_disk(job)
    renderer = Renderer.load(Path(job.base))
    work, order = _read(job, renderer, spool, control)
    device = methods.device_of(job.device)
    if ranks.rank() == 0:
        record.write(job, renderer, order, device)
    preflight.refuse_hopeless(job, work.rows, device)
    trainer = _load(work, renderer)
    return _train(trainer, work, renderer)


def _refuse_small_disk(job: contract.Job) -> None:
    """Checkpoints and result are reserved before anything is computed. Raises: DiskFull."""
    need = formula.disk_bytes(facts.read_base(Path(job.base)), job.recipe)
    held = sum(file.stat().st_size for file in Path(job.output).rglob("*") if file.is_file())
    free = shutil.disk_usage(job.output).free + held
    if job.limits.disk_bytes is not None:
        free = min(free, job.limits.disk_bytes)
    if need > free:
        raise checkpoints.DiskFull(
            f"checkpoints and result take {need / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free"
        )


def _read(
    job: contract.Job, renderer: Renderer, spool: Spool, control: Control
) -> tuple[Work, str]:
    """Raises: BadData."""
    spool.emit(contract.PhaseEvent(phase="reading"))
    file = Path(job.data.train)
    if job.data.sha256 and checkpoints.sha256_of(file) != job.data.sha256:
        raise rows.BadData("data_changed", f"{file.name} is not the file that was checked")
    found = rows.read(file, job.data.format, renderer, job.recipe)
    _tell_left_out(found, spool)
    made = found.examples or found.pairs
    if not made:
        why = _why_nothing(found, job.recipe.max_length)
        raise rows.BadData("nothing_to_learn", why, dict(found.left_out))
    if isinstance(made[0], Pair) != (job.recipe.objective == "dpo"):
        message = f"data of the format {job.data.format} does not fit {job.recipe.objective}"
        raise rows.BadData("wrong_format", message)
    pad = renderer.vocabulary.hf.pad_token_id
    work = Work(job, made, spool, control, pad if pad is not None else 0)
    return work, found.order


def _tell_left_out(found: rows.Read, spool: Spool) -> None:
    for code, count in found.left_out.items():
        line = found.first_left_out[code]
        text = f"{count} of {found.rows} rows left out, the first in line {line}"
        spool.emit(contract.WarningEvent(code=code, message=text))
    if found.cut_rows:
        text = f"{found.cut_rows} of {found.rows} rows were longer than max_length and cut"
        spool.emit(contract.WarningEvent(code="rows_cut", message=text))


def _why_nothing(found: rows.Read, max_length: int) -> str:
    if not found.rows:
        return "the file has no rows"
    words = {
        "nothing_left_to_learn": f"too long, what is learned begins behind max_length {max_length}",
        "nothing_to_learn": "without an answer of weight 1",
    }
    reasons = [f"{count} {words.get(code, code)}" for code, count in found.left_out.items()]
    return f"none of {found.rows} rows has anything to learn: {'; '.join(reasons)}"


def _load(work: Work, renderer: Renderer) -> JobTrainer:
    """Load the model, pack where that is exact, measure the base and one step."""
    spool, job = work.spool, work.job
    spool.emit(contract.PhaseEvent(phase="loading"))
    trainer = methods.make(work, renderer)
    if job.recipe.packing and job.recipe.objective != "dpo":
        _pack(trainer, work)
    spool.emit(contract.PhaseEvent(phase="preflight"))
    plan = preflight.measure(trainer)
    spool.emit(contract.PlanEvent(plan=plan))
    asked = job.data.validation or job.evaluate.prompts or job.evaluate.guard
    if asked and trainer.leads:
        judge = evaluation.Evaluation.read(job, renderer)
        judge.begin(trainer)
        work.evaluate = judge
    return trainer


def _pack(trainer: JobTrainer, work: Work) -> None:
    if not packing.is_exact(trainer.model, trainer.accelerator.device):
        message = "this model mixes packed rows: they are batched as they are"
        work.spool.emit(contract.WarningEvent(code="packing_refused", message=message))
        return
    own = [row for row in work.rows if not isinstance(row, Pair)]
    work.rows = packing.pack(own, work.recipe.max_length)


def _train(trainer: JobTrainer, work: Work, renderer: Renderer) -> int:
    spool, run = work.spool, cast("Any", trainer)
    spool.emit(contract.PhaseEvent(phase="training"))
    found = checkpoints.newest(work.output)
    run.train(resume_from_checkpoint=str(found.path) if found else None)
    step = trainer.state.global_step
    if step < trainer.state.max_steps and work.paused_for != "stop":
        return _pause(spool, work.paused_for, f"paused after step {step}", step)
    return _finish(trainer, work, renderer)


def _finish(trainer: JobTrainer, work: Work, renderer: Renderer) -> int:
    spool, target = work.spool, work.output / contract.RESULT
    if not trainer.leads:
        return contract.DONE
    spool.emit(contract.PhaseEvent(phase="saving"))
    with checkpoints.appearing(target) as folder:
        saving.write(trainer.model, Path(work.job.base), folder, _result_dtype(work))
    spool.emit(contract.PhaseEvent(phase="evaluating"))
    _judge(trainer, work, renderer)
    shutil.rmtree(work.output / contract.SCRATCH, ignore_errors=True)
    done = _done(trainer, work, target)
    if work.job.exports:
        trainer.model = trainer.optimizer = None
        preflight.give_back()
        _export(work)
    spool.emit(done)
    return contract.DONE


def _export(work: Work) -> None:
    """The result stands: an export that cannot be made is told, and may be asked for again."""
    job, spool = work.job, work.spool
    spool.emit(contract.PhaseEvent(phase="exporting"))
    for kind in job.exports:
        target = work.output / contract.EXPORTS / kind
        shutil.rmtree(target, ignore_errors=True)
        try:
            report = export.export(
                Path(job.base), work.output / contract.RESULT, target, kind, job.evaluate.prompts
            )
        except (export.ExportFailed, OSError) as error:
            spool.emit(contract.WarningEvent(code="export_failed", message=str(error)))
            continue
        spool.emit(contract.ExportEvent(kind=kind, path=str(target), report=report))


def _judge(trainer: JobTrainer, work: Work, renderer: Renderer) -> None:
    """The result is safe by now: what cannot be measured is told, and takes nothing away."""
    judge = work.evaluate or evaluation.Evaluation(work.job, renderer, [], [])
    try:
        trainer.progress.held_out = judge(trainer, True)
    except (RuntimeError, ValueError, rows.BadRow) as error:
        message = f"the result could not be evaluated: {error}"
        work.spool.emit(contract.WarningEvent(code="evaluation_failed", message=message))


def _result_dtype(work: Work) -> torch.dtype | None:
    """A whole model is served in the precision of its base; an adapter stays as it was trained."""
    if work.recipe.adapts:
        return None
    named = json.loads((Path(work.job.base) / "config.json").read_bytes())
    found = getattr(torch, str(named.get("dtype") or named.get("torch_dtype")), None)
    return found if isinstance(found, torch.dtype) else None


def _done(trainer: JobTrainer, work: Work, target: Path) -> contract.DoneEvent:
    known = trainer.progress
    metrics = {} if known.held_out is None else {"held_out_loss": known.held_out}
    return contract.DoneEvent(
        step=trainer.state.global_step,
        kind="adapter" if work.recipe.adapts else "model",
        path=str(target),
        sha256=checkpoints.manifest_sha256(target),
        loss=known.loss,
        metrics=metrics,
        stopped=work.paused_for == "stop",
    )


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in OOM_WORDS)


def _pause(spool: Spool, why: str, message: str, step: int | None = None) -> int:
    code = "asked" if why == "pause" else why
    at = spool.step if step is None else step
    spool.emit(contract.PausedEvent(step=at, code=code, message=message))  # type: ignore[arg-type]
    return contract.PAUSED
