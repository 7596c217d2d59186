"""What the supervisor asks for while the process runs: by signal, or by a line on the control pipe.

SIGTERM and SIGINT pause, SIGUSR1 stops and registers now. Lines are `pause`, `stop`, `cancel`. A control
pipe that closes means that the supervisor has gone: the job pauses, so that nobody is an orphan.
"""

import os
import signal
import threading
from types import FrameType
from typing import cast, get_args

from training import contract

# A stronger wish is not taken back by a weaker one.
ORDER: tuple[contract.Command, ...] = ("pause", "stop", "cancel")


class Control:
    """Read between steps; written by signals and by the reader's thread."""

    def __init__(self) -> None:
        self.wish: contract.Command | None = None
        self.supervisor_gone = False

    def ask(self, command: contract.Command) -> None:
        if self.wish is None or ORDER.index(command) > ORDER.index(self.wish):
            self.wish = command

    def listen(self, pipe: int | None) -> None:
        """Call from the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_pause)
        signal.signal(signal.SIGUSR1, self._on_stop)
        if pipe is not None:
            threading.Thread(target=self._read, args=(pipe,), daemon=True, name="control").start()

    def _on_pause(self, _number: int, _frame: FrameType | None) -> None:
        self.ask("pause")

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.ask("stop")

    def _read(self, pipe: int) -> None:
        with os.fdopen(pipe, "r", errors="replace", closefd=False) as lines:
            for line in lines:
                command = line.strip()
                if command in get_args(contract.Command):
                    self.ask(cast("contract.Command", command))
        self.supervisor_gone = True
        self.ask("pause")
