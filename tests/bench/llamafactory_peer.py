"""LLaMA-Factory's own training, in its own environment: `python llamafactory_peer.py options.json`.

Prints a line of JSON: CPU seconds and loss of each step, and the peak of its memory. Imports nothing of ours.
"""

import importlib
import importlib.machinery
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class Clock(TrainerCallback):
    """CPU time of the whole process from the begin of a step to its end."""

    def __init__(self) -> None:
        self.began_s = 0.0
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_step_begin(self, *_given: Any, **_more: Any) -> None:
        self.began_s = time.process_time()

    def on_step_end(self, *_given: Any, **_more: Any) -> None:
        self.seconds.append(time.process_time() - self.began_s)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_more: Any) -> None:
        del args, state, control
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


def leave_out(name: str) -> None:
    """Give an empty module: it is imported for recordings, which nobody trains on here."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    leave_out("torchaudio")
    tuner: Any = importlib.import_module("llamafactory.train.tuner")
    clock = Clock()
    tuner.run_exp(json.loads(Path(sys.argv[1]).read_text()), [clock])
    told = {"seconds": clock.seconds, "losses": clock.losses, "peak_bytes": peak_bytes()}
    sys.stdout.write(f"\n{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
