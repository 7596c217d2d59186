"""Drive an engine in-process: submit bodies, collect their frames, wait on events."""

import itertools
import threading
from typing import Any

from inference import wire
from inference.engines.base import Engine, Job, Setting

WAIT_S = 60.0


class Answer:
    """The frames of one job as they arrive."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.frames: list[Any] = []
        self._changed = threading.Condition()

    def emit(self, frame: Any) -> None:
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()

    def wait(self) -> Any:
        """Return the last frame: Done or Failure."""
        self.wait_for(lambda: self.ended)
        return self.frames[-1]

    def wait_for(self, condition: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S), f"no answer in {WAIT_S} s"

    @property
    def ended(self) -> bool:
        return bool(self.frames) and isinstance(self.frames[-1], wire.Done | wire.Failure)

    def of(self, kind: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


class Driver:
    """A loaded engine and its running numbers."""

    def __init__(self, engine: Engine, spec: wire.ModelSpec, memory_bytes: int = 0) -> None:
        self.engine = engine
        self.progress: list[tuple[int, int]] = []
        setting = Setting(
            threads=1,
            device="cpu",
            memory_bytes=memory_bytes,
            progress=lambda done, total: self.progress.append((done, total)),
        )
        self.loaded = engine.load(spec, setting)
        self._numbers = itertools.count(1)

    def start(self, body: wire.Body) -> Answer:
        answer = Answer(next(self._numbers))
        self.engine.submit(Job(answer.stream, body, answer.emit))
        return answer

    def ask(self, body: wire.Body) -> Answer:
        answer = self.start(body)
        answer.wait()
        return answer

    def failure(self, body: wire.Body) -> wire.Failure:
        last = self.ask(body).wait()
        assert isinstance(last, wire.Failure), last
        return last
