"""Several processes for one job, through torchrun: the same script, started once for each rank.

The launcher stays between supervisor and ranks: control lines and signals reach the first rank over one
pipe, and the exit code is that of the last event.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO

from training import contract
from training.run.spool import Spool

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_launched() -> bool:
    return "RANK" in os.environ


def launch(file: Path, job: contract.Job, events: int, control: int | None) -> int:
    """Run all ranks to their end and give the job's exit code."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(job.limits.processes), "--max_restarts", "0"),
        *("-m", "training.run", str(file)),
    ]
    environment = {**os.environ, **LOOPBACK, "OMP_NUM_THREADS": str(job.limits.threads)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=events, env=environment, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None  # noqa: S101  for the type checker
        _pass_on(child.stdin, control)
        child.wait()
    return _exit_code(job, events)


def _pass_on(ranks: IO[str], control: int | None) -> None:
    """The first rank reads lines; signals become lines, since torchrun ends its ranks at a signal."""

    def say(line: str) -> None:
        try:
            ranks.write(line + "\n")
        except OSError:
            return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        say("stop" if number == signal.SIGUSR1 else "pause")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, on_signal)
    if control is not None:
        threading.Thread(target=_copy, args=(control, say, ranks), daemon=True).start()


def _copy(control: int, say: Callable[[str], None], ranks: IO[str]) -> None:
    with os.fdopen(control, "r", errors="replace", closefd=False) as lines:
        for line in lines:
            say(line.strip())
    ranks.close()


def _exit_code(job: contract.Job, events: int) -> int:
    """Ranks that were killed tell nothing: then the job may be started again."""
    last = None
    for event in contract.read_events(Path(job.output)):
        if event.attempt == job.attempt:
            last = event
    match last:
        case contract.DoneEvent():
            return contract.DONE
        case contract.PausedEvent():
            return contract.PAUSED
        case contract.FailedEvent():
            return last.exit_code
    with Spool(Path(job.output), job.attempt, events) as spool:
        message = "a rank ended without a word; see the log"
        spool.emit(contract.FailedEvent(code="rank_lost", message=message))
    return contract.FAILED
