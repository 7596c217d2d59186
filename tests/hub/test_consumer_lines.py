"""A Redis that hangs is one line of the worker's log for each outage, not two every few seconds."""

import logging
import subprocess
import sys
from pathlib import Path
from signal import SIGSTOP

import pytest
import redis

from hub import consumer_lines
from hub.consumer_lines import OncePerOutage
from hub.supervisor import valkey
from tests.hub import processes
from tests.hub.test_worker_start import WAIT_S, read, wait_for

UNEXPECTED = "Consumer encountered an unexpected error."


def line(text: str, error: Exception | None = None, *args: object) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, None)
    name = f"{consumer_lines.CONSUMERS}(default)"
    return logging.LogRecord(name, logging.CRITICAL, "", 0, text, args, trace)


def test_it_is_told_once_for_each_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    told = OncePerOutage()
    hung = line(UNEXPECTED, redis.TimeoutError("no answer"))
    gone = line("Consumer encountered a connection error: %s", None, "gone")
    assert [told.filter(one) for one in (hung, gone, hung)] == [True, False, False]
    assert (hung.getMessage(), hung.levelname) == (consumer_lines.AWAY, "WARNING")
    monkeypatch.setattr(consumer_lines, "GAP_S", 0.0)  # it was back in between
    assert told.filter(line("Consumer encountered a connection error: %s", None, "gone"))


def test_a_mistake_of_the_code_is_told_as_it_is() -> None:
    told = OncePerOutage()
    for _ in range(2):
        wrong = line(UNEXPECTED, KeyError("x"))
        assert told.filter(wrong)
        assert (wrong.getMessage(), wrong.levelno) == (UNEXPECTED, logging.CRITICAL)


def test_a_worker_tells_it_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A frozen Redis: both of its consumers fail at once, and go on failing."""
    data: Path = tmp_path_factory.mktemp("w")
    address = {"AI_HUB_REDIS_URL": f"unix://{data}/v", "AI_HUB_MODELS": str(data / "none")}
    migrated = processes.manage(data, 1, "migrate", "--verbosity", "0", **address)
    assert migrated.returncode == 0, migrated.stderr
    server = subprocess.Popen(valkey.command(data / "v", data))
    valkey.wait_ready(address["AI_HUB_REDIS_URL"], server)
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "run_worker"],
        cwd=processes.ROOT,
        env=processes.environment(data, 1, **address),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        lines = read(worker)
        wait_for(lines, "model not prepared")
        server.send_signal(SIGSTOP)
        while consumer_lines.AWAY not in lines.get(timeout=WAIT_S):
            pass
        server.kill()  # the consumers now fail in the other way, and say nothing more
        server.wait()
        worker.terminate()
        worker.wait()
        rest = [lines.get() for _ in range(lines.qsize())]
    finally:
        for process in (server, worker):
            process.kill()
            process.wait()
    assert not [text for text in rest if "Consumer" in text or consumer_lines.AWAY in text]
