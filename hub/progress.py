"""Progress of long work on a terminal, or line by line where there is none."""

import sys
import time
from typing import TextIO

LINE_EVERY_S = 2.0
BAR_EVERY_S = 0.1
BAR_WIDTH = 24


class Progress:
    """Call it with (what, done bytes, total bytes) as often as you like."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.is_terminal = out.isatty()
        self._what = ""
        self._first = (0.0, 0)  # when, and at how many bytes
        self._shown_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        if what != self._what:
            self._what, self._first = what, (now_s, done)
            self._shown_s = 0.0 if self.is_terminal else now_s  # a log wants no line of 0 %
        finished = bool(total) and done >= total
        pause_s = BAR_EVERY_S if self.is_terminal else LINE_EVERY_S
        if finished or now_s - self._shown_s >= pause_s:
            self._shown_s = now_s
            self._show(describe(what, done, total, self._speed(now_s, done)), finished=finished)

    def _speed(self, now_s: float, done: int) -> float:
        since_s, at = self._first
        return (done - at) / (now_s - since_s) if now_s > since_s else 0.0

    def _show(self, text: str, *, finished: bool) -> None:
        if self.is_terminal:
            self.out.write(f"\r\x1b[K{text}" + ("\n" if finished else ""))
        else:
            self.out.write(f"{text}\n")
        self.out.flush()


def describe(what: str, done: int, total: int, bytes_per_s: float) -> str:
    """Give e.g. `model: [####----] 50 % of 98.4 MB, 12.1 MB/s, 4 s left`."""
    speed = f"{bytes_per_s / 1e6:.1f} MB/s"
    if not total:
        return f"{what}: {done / 1e6:.1f} MB, {speed}"
    full = round(BAR_WIDTH * done / total)
    bar = "#" * full + "-" * (BAR_WIDTH - full)
    head = f"{what}: [{bar}] {100 * done / total:3.0f} % of {total / 1e6:.1f} MB, {speed}"
    if done >= total:
        return head
    left = f", {(total - done) / bytes_per_s:.0f} s left" if bytes_per_s > 0 else ""
    return head + left
