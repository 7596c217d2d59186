"""An engine's own process at the other end of a socket, and the frames on their way out."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from inference import wire
from inference.engines.outbox import STREAM_LIMIT_BYTES, Outbox
from tests.inference.node.nodes import ROOT, WAIT_S, fake


@dataclass
class Link:
    """The node's end of an engine's socket."""

    socket: socket.socket
    process: "subprocess.Popen[bytes]"
    parser: wire.FrameParser = field(default_factory=wire.FrameParser)
    frames: list[wire.Frame] = field(default_factory=list)

    def send(self, message: wire.Any, stream: int = 0) -> None:
        self.socket.sendall(wire.encode(message, stream))

    def next(self) -> wire.Frame:
        while not self.frames:
            data = self.socket.recv(65536)
            assert data, "the engine hung up"
            self.frames += self.parser.feed(data)
        return self.frames.pop(0)

    def until(self, stream: int, *kinds: type) -> Any:
        while True:
            frame = self.next()
            if frame.stream == stream and isinstance(message := frame.decode(), kinds):
                return message

    def load(self, **options: Any) -> Any:
        self.send(wire.Start(spec=fake("m", **options), threads=1))
        return self.until(0, wire.Loaded, wire.Failure)


@pytest.fixture
def link() -> Iterator[Link]:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    flags = ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
    command = [sys.executable, "-m", "inference.engines.worker", *flags]
    with theirs:
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    with ours:
        yield Link(ours, process)
    assert process.wait(WAIT_S) == 0  # the socket's end is the process's end


def generate(words: str, tokens: int) -> wire.Run:
    sampling = wire.Sampling(max_tokens=tokens)
    return wire.Run(body=wire.Generate(prompt=wire.TextPrompt(text=words), sampling=sampling))


def test_it_loads_with_progress_and_answers(link: Link) -> None:
    link.send(wire.Start(spec=fake("m", memory_bytes=1_000_000, load_s=0.2), threads=1))
    assert link.until(0, wire.LoadProgress).total_bytes == 1_000_000
    assert link.until(0, wire.Loaded).memory_bytes == 1_000_000
    link.send(generate("a b", 3), 7)
    assert [link.until(7, wire.Delta).text for _ in range(3)] == ["a", " b", " a"]
    assert link.until(7, wire.Done).usage.completion_tokens == 3


def test_it_reports_while_busy_and_once_when_idle(link: Link) -> None:
    link.load(tokens_per_s=50)
    link.send(generate("a", 60), 1)
    assert link.until(0, wire.Stats).running == 1
    link.until(1, wire.Done)
    while (last := link.until(0, wire.Stats)).running:
        pass
    assert last.completion_tokens_total == 60


def test_a_cancelled_stream_ends_within_a_step(link: Link) -> None:
    link.load(tokens_per_s=20)
    link.send(generate("a", 1_000_000), 1)
    link.until(1, wire.Delta)
    link.send(wire.Cancel(), 1)
    assert link.until(1, wire.Done).usage.completion_tokens < 10
    assert link.until(0, wire.Stats).cancelled_total == 1


@pytest.mark.parametrize("engine", ["nothing_of_that_name", "../base", "os.path"])
def test_an_engine_that_is_not_there_is_a_clear_failure(link: Link, engine: str) -> None:
    spec = wire.ModelSpec(name="m", kind="llm", engine=engine, path="")
    link.send(wire.Start(spec=spec, threads=1))
    failure = link.until(0, wire.Failure)
    assert failure.code == "model_load_failed"
    assert repr(engine) in failure.message


def test_a_request_before_the_load_fails_alone(link: Link) -> None:
    link.send(generate("a", 1), 3)
    assert link.until(3, wire.Failure).code == "engine_failed"
    assert isinstance(link.load(), wire.Loaded)


def test_a_load_that_needs_more_than_allowed_is_refused(link: Link) -> None:
    spec = fake("m", memory_bytes=2_000_000)
    link.send(wire.Start(spec=spec, threads=1, memory_bytes=1_000_000))
    assert link.until(0, wire.Failure).code == "insufficient_memory"


@pytest.fixture
def pipe() -> Iterator[tuple[socket.socket, Outbox, list[int]]]:
    """An outbox whose reader decides when to read, and the streams that were cut."""
    reading, writing = socket.socketpair()
    cut: list[int] = []
    reading.settimeout(WAIT_S)
    with reading, writing:
        outbox = Outbox(writing, cut.append)
        yield reading, outbox, cut
        reading.close()


def drain(reading: socket.socket, last_stream: int) -> dict[int, list[wire.Frame]]:
    parser, found = wire.FrameParser(), dict[int, list[wire.Frame]]()
    while True:
        for frame in parser.feed(reading.recv(65536)):
            found.setdefault(frame.stream, []).append(frame)
            if frame.stream == last_stream and frame.kind in wire.TERMINAL:
                return found


def test_a_stream_that_nobody_reads_is_cut_and_still_ended(
    pipe: tuple[socket.socket, Outbox, list[int]],
) -> None:
    reading, outbox, cut = pipe
    outbox.open(1)
    outbox.open(2)
    delta = wire.Delta(text="x" * 10_000)
    while not cut:
        outbox.put(delta, 1)
    outbox.put(delta, 1)
    outbox.put(wire.Delta(text="kept"), 2)
    outbox.put(wire.Done(), 1)
    outbox.put(wire.Done(), 2)
    found = drain(reading, 2)
    assert cut == [1]
    assert found[1][-1].kind == wire.DONE
    assert sum(len(frame.payload) for frame in found[1]) < 3 * STREAM_LIMIT_BYTES
    assert [frame.decode() for frame in found[2]] == [wire.Delta(text="kept"), wire.Done()]


def test_one_large_frame_is_no_overflow(pipe: tuple[socket.socket, Outbox, list[int]]) -> None:
    reading, outbox, cut = pipe
    outbox.open(1)
    outbox.put(wire.Vectors(rows=1, dimensions=1, data=bytes(3 * STREAM_LIMIT_BYTES)), 1)
    outbox.put(wire.Done(), 1)
    assert len(drain(reading, 1)[1]) == 2
    assert not cut


def test_frames_after_the_last_are_dropped(pipe: tuple[socket.socket, Outbox, list[int]]) -> None:
    reading, outbox, _ = pipe
    for stream in (1, 2):
        outbox.open(stream)
    outbox.put(wire.Done(), 1)
    outbox.put(wire.Delta(text="late"), 1)
    outbox.put(wire.Done(), 2)
    assert len(drain(reading, 2)[1]) == 1
