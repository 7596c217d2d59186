"""Real training processes for tests: forked from one that has done the imports, so that each is quick."""

import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import msgspec

from tests.inference.engines import small_tokenizers, tiny_models
from training import contract
from training.recipes.recipe import Recipe
from training.run.__main__ import main

WAIT_S = 120
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["training.run.process"])


def chats(count: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"say {'word ' * (at % 4)}{at}"},
                {"role": "assistant", "content": f"the fox {at} jumps"},
            ]
        }
        for at in range(count)
    ]


def write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def tiny_base(folder: Path, kind: str = "llama") -> Path:
    """Wide enough for blocks of 64 weights, in which bitsandbytes quantizes."""
    sizes = {"hidden_size": 64, "intermediate_size": 128}
    return tiny_models.make(folder, kind, small_tokenizers.CHATML, **sizes)


def job(base: Path, data: Path, output: Path, **changes: Any) -> contract.Job:
    """`recipe` may be a dict of its fields; `format` is that of the data."""
    recipe = msgspec.convert({"learning_rate": 1e-2} | changes.pop("recipe", {}), Recipe)
    form = changes.pop("format", "chat")
    sources = contract.Data(
        format=form, train=str(data), validation=changes.pop("validation", None)
    )
    return contract.Job(
        id=output.name, base=str(base), output=str(output), data=sources, recipe=recipe, **changes
    )


class Run:
    """One attempt of a job."""

    def __init__(self, made: contract.Job, supervised: bool = False, **limits: int) -> None:
        """`supervised`: with pipes. `limits` are of the kernel: FSIZE, DATA, in bytes."""
        self.output = Path(made.output)
        self.output.mkdir(parents=True, exist_ok=True)
        contract.write_job(made, self.output / contract.JOB)
        self._seen = len(self.events())
        heard, self.control = CONTEXT.Pipe(duplex=False)
        self._told, says = CONTEXT.Pipe(duplex=False)
        pipes = (heard, says) if supervised else ()
        arguments = (str(self.output / contract.JOB), limits, pipes)
        self._process = CONTEXT.Process(target=_main, args=arguments)
        self._process.start()
        heard.close()
        says.close()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def events(self) -> list[contract.AnyEvent]:
        return list(contract.read_events(self.output))

    def own_events(self) -> list[contract.AnyEvent]:
        return self.events()[self._seen :]

    def told(self) -> Iterator[contract.AnyEvent]:
        """Give the events of its pipe, to its end."""
        with os.fdopen(self._told.fileno(), "rb", closefd=False) as lines:
            yield from map(contract.decode, lines)

    def wait(self) -> int:
        """Give its exit code, negative after a signal."""
        self._process.join(WAIT_S)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"{self.output.name} goes on: {self.events()[-1:]}")
        return self._process.exitcode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._process.join(WAIT_S)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def until(self, test: Callable[[contract.AnyEvent], bool]) -> contract.AnyEvent:
        """Follow its spool to the first event of this attempt that passes."""
        with _following(self.output / contract.EVENTS, self._process.sentinel) as changes:
            for _ in changes:
                for event in self.own_events():
                    if test(event):
                        return event
        raise AssertionError(f"it ended without it: {self.own_events()[-3:]}")


def _main(file: str, limits: dict[str, int], pipes: Sequence[Connection]) -> None:
    for descriptor, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), descriptor)
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    raise SystemExit(main([file]))


@contextmanager
def _following(file: Path, sentinel: int) -> Iterator[Iterator[None]]:
    """Yield whenever the file may have grown, until its writer has ended and once more."""

    def changes() -> Iterator[None]:
        while not wait([sentinel], timeout=0.01):
            yield
        yield

    yield changes()


def finished(made: contract.Job) -> Run:
    """Run it to its good end."""
    run = Run(made)
    code = run.wait()
    assert code == contract.DONE, (code, run.events()[-1:])
    return run


def losses(run: Run) -> dict[int, float]:
    return {e.step: e.loss for e in run.events() if isinstance(e, contract.StepEvent)}


def done(run: Run) -> contract.DoneEvent:
    last = run.events()[-1]
    assert isinstance(last, contract.DoneEvent), last
    return last


def weights(run: Run) -> bytes:
    name = "adapter_model.safetensors"
    return (run.output / contract.RESULT / name).read_bytes()
