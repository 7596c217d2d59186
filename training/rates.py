"""How fast this machine trains, for plans of what was never trained here. Measured once, when a plan asks.

`turn` is taken by a thread of the worker: the machine that trains measures itself.
"""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from inference import wire
from inference.errors import HubError
from training import claims, processes
from training.recipes import memory

log = logging.getLogger(__name__)

EVERY_S = 2.0
LIMIT_S = 600.0
LOOK_S = 0.5
FOLDER, WANTED, FOUND = "training-rate", "wanted", "rate.json"


def known(precision: str) -> float | None:
    """Give floating-point operations a second, or None where they were not measured yet."""
    try:
        told = json.loads((_folder() / FOUND).read_bytes())
        return float(told["rates"][precision])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask() -> None:
    """Let the worker measure, if nobody has asked for it yet. Raises: OSError."""
    _folder().mkdir(parents=True, exist_ok=True)
    (_folder() / WANTED).touch()


def start(stopped: threading.Event) -> threading.Thread:
    return processes.looked_after("rates", partial(turn, stopped), EVERY_S, stopped)


def turn(stopped: threading.Event) -> None:
    """Measure where it is wanted. Raises: OSError."""
    if not (_folder() / WANTED).exists():
        return
    with processes.alone(_folder()) as lock:
        if lock is None:
            return
        try:
            told = _measured(stopped)
        except (HubError, ValueError) as error:
            log.warning("the machine's rate was not measured", extra={"reason": str(error)})
            told = None
        if told is not None:
            _keep(told)
        if not stopped.is_set():  # else the next worker measures
            (_folder() / WANTED).unlink(missing_ok=True)


def _measured(stopped: threading.Event) -> dict[str, Any] | None:
    """Give what the process said; None when told to stop. Raises: HubError, OSError, ValueError."""
    wanted = wire.Reserve(
        id=FOLDER,
        label="how fast this machine trains",
        claim_bytes=memory.FLOOR_BYTES["cpu"],
        device="cpu",
        is_preemptible=False,
    )
    with claims.Memory(wanted) as held:
        if held.granted(lambda _told: not stopped.is_set(), EVERY_S) is None:
            return None
        return _told(stopped)


def _told(stopped: threading.Event) -> dict[str, Any] | None:
    """Let a process measure, and end it when told to stop. Raises: OSError, ValueError."""
    until_s = time.monotonic() + LIMIT_S
    with subprocess.Popen(
        [sys.executable, "-m", "training.run.rate"],
        stdout=subprocess.PIPE,
        env=processes.environment(),
        cwd=settings.BASE_DIR,
    ) as process:
        while not stopped.is_set() and time.monotonic() < until_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                told: dict[str, Any] = json.loads(process.communicate(timeout=LOOK_S)[0])
                return told
        process.kill()
    return None


def _keep(told: dict[str, Any]) -> None:
    draft = _folder() / f"{FOUND}.draft"
    draft.write_text(json.dumps(told))
    draft.replace(_folder() / FOUND)


def _folder() -> Path:
    return Path(settings.HUB_DATA) / FOLDER
