"""Run background tasks: conversions and downloads."""

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import dramatiq
from django.core.management.base import CommandParser

from accounts import connections
from accounts.commands import HubCommand
from hub import config_watch

log = logging.getLogger(__name__)

STOP_MS = 4000
RETRY_S = 2.0
ASK_S = 10.0
THREADS = 4


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--threads", type=int, default=THREADS)

    def handle(self, *_args: Any, **options: Any) -> None:
        from accounts import tidy  # noqa: PLC0415
        from inference import tasks, uploads  # noqa: PLC0415 - actors attach to the configured broker
        from training import (  # noqa: PLC0415
            exports,
            files,
            ingest,
            parts,
            processes,
            rates,
            retention,
            supervising,
            trackers,
        )
        from training import tasks as training_tasks  # noqa: PLC0415

        config_watch.start()
        stopped = threading.Event()

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopped.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker = dramatiq.Worker(dramatiq.get_broker(), worker_threads=options["threads"])
        worker.start()
        _begin(
            stopped,
            tasks.enqueue_preparations,
            tasks.enqueue_arrivals,
            training_tasks.enqueue_validations,
        )
        rooms = (supervising, trackers, exports, rates)
        threads = [room.start(stopped) for room in rooms]
        threads.append(processes.looked_after("arrivals", tasks.ask_again, ASK_S, stopped))
        sweeps = (uploads.sweep, files.sweep, parts.sweep, ingest.sweep, retention.sweep)
        tidy.sweep_apart(*sweeps)
        while not stopped.wait(tidy.EVERY_S):
            tidy.sweep_apart(*sweeps, training_tasks.ask_again)
        for thread in threads:
            thread.join()
        worker.stop(timeout=STOP_MS)


def _begin(stopped: threading.Event, *steps: Callable[[], object]) -> None:
    """Ask for what was left undone; with Redis away, as soon as it is back."""
    while not stopped.is_set():
        try:
            for step in steps:
                step()
        except connections.Away as error:
            log.warning("work left undone waits for Redis", extra={"reason": str(error)})
            stopped.wait(RETRY_S)
        else:
            return
