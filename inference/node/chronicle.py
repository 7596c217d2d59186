"""The scheduler's decisions on disk, so that a model's timeline outlives its node. Kept by the ledger.

One JSON object a line, appended; the file is written anew when it holds twice what is kept. A line that
cannot be read, as one torn by a power cut, is left out.
"""

import logging
import os
import time
from collections import deque
from pathlib import Path

import msgspec

from inference import wire

KEPT = 200
LINE_CHARS = 4_000  # of a reason: an engine's own words may be long
LOST = "the node ended, and its engines with it"

log = logging.getLogger(__name__)


class Chronicle:
    """Without a file it remembers as long as it lives."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lines = 0
        self.decisions: deque[wire.Decision] = deque(self._read(), maxlen=KEPT)
        for name in _loaded(self.decisions):
            lost = wire.Decision(at=time.time(), action="unload", model=name, reason=LOST)
            self.add(lost)

    def add(self, decision: wire.Decision) -> None:
        """A disk that is full costs the memory of it, and nothing else."""
        self.decisions.append(decision)
        if self._file is None:
            return
        try:
            self._append(self._file, decision)
        except OSError as error:
            log.warning("the list of decisions cannot be written: %s", error)

    def _append(self, file: Path, decision: wire.Decision) -> None:
        self._lines += 1
        if self._lines > 2 * KEPT:
            self._write_anew(file)
            return
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as out:
            out.write(_line(decision))

    def _write_anew(self, file: Path) -> None:
        draft = file.with_suffix(".new")
        draft.write_bytes(b"".join(map(_line, self.decisions)))
        draft.chmod(0o600)
        draft.replace(file)
        self._lines = len(self.decisions)

    def _read(self) -> list[wire.Decision]:
        try:
            lines = self._file.read_bytes().splitlines() if self._file else []
        except OSError:
            return []
        self._lines = len(lines)
        return [decision for decision in map(_decision, lines) if decision is not None]


def _loaded(decisions: deque[wire.Decision]) -> list[str]:
    """Name the models whose last word is that they were loaded."""
    last = {decision.model: decision.action for decision in decisions}
    return [name for name, action in last.items() if action == "load"]


def _line(decision: wire.Decision) -> bytes:
    short = msgspec.structs.replace(decision, reason=decision.reason[:LINE_CHARS])
    return msgspec.json.encode(short) + b"\n"


def _decision(line: bytes) -> wire.Decision | None:
    try:
        return msgspec.json.decode(line, type=wire.Decision)
    except msgspec.MsgspecError:
        return None
