"""`python -m training.run job.json`: train one job. Also by hand; see docs/training.md.

Events are lines on standard output; everything that libraries print goes to standard error. Where
standard input is a pipe, it is the control pipe.
"""

import argparse
import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from inference.engines import confine
from training import contract
from training.run import logbook, ranks
from training.run.control import Control
from training.run.spool import Quiet, Spool

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.run", description="Train one job.")
    parser.add_argument("job", type=Path, help="job.json")
    chosen = parser.parse_args(arguments)
    events = _events_apart()
    logbook.start()
    try:
        job = contract.read_job(chosen.job)
        Path(job.output).mkdir(parents=True, exist_ok=True)
    except (OSError, msgspec.MsgspecError) as error:
        failed = contract.FailedEvent(code="bad_job", message=f"{chosen.job}: {error}")
        os.write(events, msgspec.json.encode(failed) + b"\n")
        return contract.FAILED
    pipe = 0 if _is_pipe(0) else None
    os.environ.update(OFFLINE)
    os.environ.setdefault("OMP_NUM_THREADS", str(job.limits.threads))
    if ranks.is_launched():
        return _one_rank(job, events, pipe)
    _keep_apart()
    if job.limits.processes > 1:
        return ranks.launch(chosen.job.resolve(), job, events, pipe)
    control = Control()
    control.listen(pipe)
    with Spool(Path(job.output), job.attempt, events) as spool:
        return _run(job, spool, control)


def _keep_apart() -> None:
    """An own process group, so that one signal reaches all of it; no network; ended first."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    confine.be_ended_first()
    confine.leave_network()


def _one_rank(job: contract.Job, events: int, pipe: int | None) -> int:
    """How it ended is told by the first rank's event; torchrun takes any code but 0 for a crash."""
    control, first = Control(), ranks.rank() == 0
    control.listen(pipe if first else None)
    with Spool(Path(job.output), job.attempt, events) if first else Quiet() as spool:
        code = _run(job, spool, control)
        return 0 if first or code in {contract.DONE, contract.PAUSED} else code


def _run(job: contract.Job, spool: Spool, control: Control) -> int:
    spool.emit(contract.PhaseEvent(phase="starting"))
    from training.run import process  # noqa: PLC0415  its imports take seconds

    return process.run(job, spool, control)


def _events_apart() -> int:
    """Keep standard output for events alone."""
    events = os.dup(1)
    os.dup2(2, 1)
    if _is_pipe(events):
        os.set_blocking(events, False)
    return events


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _leave(code: int) -> NoReturn:
    """Python would end with a code of its own where what is still buffered cannot be written."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
