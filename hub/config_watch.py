"""config/hub.json while the hub runs: a valid edit takes effect, another one is told and changes nothing.

One thread in each process that serves. `settings.HUB_CONFIG` is what holds: it is replaced as a whole,
and read anew by whoever asks it, so that nothing of it waits for a restart.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from django.conf import settings

from hub import config

log = logging.getLogger(__name__)

EVERY_S = 1.0

Stamp = tuple[int, ...] | None  # None: there is no such file


class Watch:
    """`applied` is called after each change until it says that it is done."""

    def __init__(self, applied: Callable[[], bool] = lambda: True) -> None:
        self._applied = applied
        self._config: config.HubConfig = settings.HUB_CONFIG
        self._problems: list[str] = settings.HUB_CONFIG_PROBLEMS
        self._seen: Stamp = None
        self._read: Stamp = None
        self._is_told = True

    def look(self) -> None:
        """Take the file once it has rested for a while: some write it in several steps."""
        stamp = _stamp(settings.HUB_CONFIG_FILE)
        rests, self._seen = stamp == self._seen, stamp
        if rests and stamp != self._read:
            self._read = stamp
            self._take()
        self._hold()
        if not self._is_told:
            self._is_told = self._applied()

    def _take(self) -> None:
        """A file that was there and is gone is a mistake: it does not lift every limit."""
        try:
            found = config.load(settings.HUB_CONFIG_FILE, is_named=True)
        except config.ConfigError as error:
            self._problems = error.messages
            for message in error.messages:
                log.error("%s: %s; the last valid one holds", settings.HUB_CONFIG_FILE, message)
        else:
            self._accept(found)

    def _accept(self, found: config.HubConfig) -> None:
        if self._problems:
            log.info("%s is in order again", settings.HUB_CONFIG_FILE)
            self._problems = []
        if changed := config.differences(self._config, found):
            log.info("%s: %s changed", settings.HUB_CONFIG_FILE, ", ".join(changed))
            self._config, self._is_told = found, False

    def _hold(self) -> None:
        """Set it again where another thread, just reading, has put the old one back.

        Django's settings keep what was read, and a reader may keep it after this one has set it.
        """
        if settings.HUB_CONFIG is not self._config:
            settings.HUB_CONFIG = self._config
        if settings.HUB_CONFIG_PROBLEMS is not self._problems:
            settings.HUB_CONFIG_PROBLEMS = self._problems

    def run(self, stopped: threading.Event) -> None:
        """A look that fails is told, and the next one is taken: the file would be followed no more."""
        while not stopped.wait(EVERY_S):
            try:
                self.look()
            except Exception:
                log.exception("%s could not be followed", settings.HUB_CONFIG_FILE)


def start(applied: Callable[[], bool] = lambda: True) -> None:
    """Watch as long as this process lives."""
    run, stopped = Watch(applied).run, threading.Event()
    threading.Thread(target=run, args=(stopped,), name="config", daemon=True).start()


def keep() -> bool:
    """Write down what holds, for a process that starts while the file cannot be used."""
    place = settings.HUB_CONFIG_KEPT
    fresh = place.with_suffix(".new")
    try:
        fresh.write_bytes(msgspec.json.encode(settings.HUB_CONFIG))
        fresh.replace(place)
    except OSError as error:
        log.warning("%s was not written: %s", place, error.strerror)
    return True


def _stamp(file: Path) -> Stamp:
    """Change whenever somebody writes or replaces it, also where a mounted link turns."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns
