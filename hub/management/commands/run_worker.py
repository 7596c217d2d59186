"""Run background tasks: conversions and downloads."""

import signal
import threading
from types import FrameType
from typing import Any

import dramatiq
from django.core.management.base import CommandParser

from accounts.commands import HubCommand

STOP_MS = 4000
THREADS = 4


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--threads", type=int, default=THREADS)

    def handle(self, *_args: Any, **options: Any) -> None:
        from inference import tasks, uploads  # noqa: PLC0415 - actors attach to the configured broker

        stopped = threading.Event()

        def stop(_number: int, _frame: FrameType | None) -> None:
            stopped.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker = dramatiq.Worker(dramatiq.get_broker(), worker_threads=options["threads"])
        worker.start()
        tasks.enqueue_preparations()
        tasks.enqueue_arrivals()
        uploads.sweep()
        stopped.wait()
        worker.stop(timeout=STOP_MS)
