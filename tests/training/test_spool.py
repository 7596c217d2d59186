"""Events, as those who read the spool or the pipe find them."""

import fcntl
import logging
import os
import resource
from pathlib import Path

import msgspec
import pytest

from training import contract
from training.run.spool import Spool

PIPE_BYTES = 4096  # the smallest that the kernel makes


def test_nothing_comes_after_the_end(tmp_path: Path) -> None:
    """A heartbeat beside the last event would hide from the launcher how the job ended."""
    with Spool(tmp_path, 1, None) as spool:
        spool.emit(contract.PausedEvent(step=3, code="asked", message="paused"))
        spool.emit(contract.HeartbeatEvent(step=3, memory_bytes=1))
    with Spool(tmp_path, 2, None) as spool:
        spool.emit(contract.HeartbeatEvent(step=4, memory_bytes=1))
    told = [(event.seq, event.attempt, type(event)) for event in contract.read_events(tmp_path)]
    assert told == [(1, 1, contract.PausedEvent), (2, 2, contract.HeartbeatEvent)]


def test_a_slow_reader_misses_lines_but_finds_each_whole(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(writer, False)
    with Spool(tmp_path, 1, writer) as spool, os.fdopen(reader, "rb") as pipe:
        for _ in range(3):  # the first finds room for its begin alone
            spool.emit(contract.WarningEvent(code="long", message="x" * (PIPE_BYTES + 100)))
        begin = os.read(reader, PIPE_BYTES)
        spool.emit(contract.HeartbeatEvent(step=7, memory_bytes=1))
        os.close(writer)
        told = [contract.decode(line) for line in (begin + pipe.read()).splitlines()]
    assert [event.seq for event in told] == [1, 4]
    assert len(list(contract.read_events(tmp_path))) == 4


def test_who_follows_reads_each_line_once_and_only_when_it_has_ended(tmp_path: Path) -> None:
    assert contract.read_on(tmp_path, 0) == ([], 0)
    file = tmp_path / contract.EVENTS
    lines = [msgspec.json.encode(contract.PhaseEvent(seq=n, phase="reading")) for n in (1, 2, 3)]
    file.write_bytes(lines[0] + b"\n" + lines[1][:9])
    first, offset = contract.read_on(tmp_path, 0)
    assert ([event.seq for event in first], offset) == ([1], len(lines[0]) + 1)
    file.write_bytes(b"\n".join([*lines, b""]))
    rest, offset = contract.read_on(tmp_path, offset)
    assert [event.seq for event in rest] == [2, 3]
    assert contract.read_on(tmp_path, offset) == ([], offset)


def test_people_read_each_step_in_the_log_of_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step = contract.StepEvent(
        step=3, steps=9, epoch=0.5, loss=0.84444, learning_rate=1e-3, grad_norm=1.0, tokens=660,
        tokens_per_s=24.7, memory_bytes=1_370_000_000, seconds=7.0, eta_s=42.0,
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "training"), Spool(tmp_path, 1, None) as spool:
        spool.emit(contract.PhaseEvent(phase="loading"))
        spool.emit(step)
        spool.emit(contract.HeartbeatEvent(step=3, memory_bytes=1))
        spool.emit(contract.FailedEvent(code="diverged", message="the loss of step 4 is nan"))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "phase: loading",
        "step 3/9: loss 0.8444, learning rate 0.001, 24.7 tokens/s, 1.37 GB",
        "the loss of step 4 is nan",
    ]


def test_a_full_disk_is_no_silence(tmp_path: Path) -> None:
    """What is not written still changes the time of the spool, by which a supervisor goes."""
    file = tmp_path / contract.EVENTS
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path, 1, None) as spool:
        spool.emit(contract.HeartbeatEvent(step=1, memory_bytes=1))
        size_bytes = file.stat().st_size
        os.utime(file, (1, 1))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
            spool.emit(contract.HeartbeatEvent(step=2, memory_bytes=1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (file.stat().st_size, file.stat().st_mtime > 1) == (size_bytes, True)
        spool.emit(contract.HeartbeatEvent(step=3, memory_bytes=1))
    assert [event.seq for event in contract.read_events(tmp_path)] == [1, 2, 3]
