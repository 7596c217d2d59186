"""Start real nodes and talk to them as a router does."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from inference import wire

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 60.0
WORKER = "inference.engines.worker"


@dataclass
class Node:
    process: "subprocess.Popen[str]"
    path: str

    def engines(self) -> list[psutil.Process]:
        """Those that run; one that has just ended is none."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if WORKER in child.cmdline():
                    found.append(child)
        return found

    def talk(self) -> "Talk":
        return Talk(self.path)


def start(folder: Path, **options: object) -> Node:
    """Run `python -m inference.node` and wait until it says that it listens."""
    path = str(folder / "n.sock")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "inference.node", f"--address=unix:{path}"),
            *(f"--state-dir={folder / 'state'}", *flags),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SECRET_OF_A_TEST": "not for engines"},
    )
    assert process.stderr
    while "the node listens" not in (line := process.stderr.readline()):
        assert line, "the node ended before it listened"
    log = (folder / "node.log").open("w")
    threading.Thread(target=shutil.copyfileobj, args=(process.stderr, log), daemon=True).start()
    return Node(process, path)


def stop(node: Node) -> None:
    node.process.terminate()
    node.process.wait(WAIT_S)


def network_of(pid: int | str) -> Path:
    """Name the network namespace of a process."""
    return Path(f"/proc/{pid}/ns/net").readlink()


class Talk:
    """One connection; used as an async context manager."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def __aenter__(self) -> "Talk":
        self.reader, self.writer = await asyncio.open_unix_connection(self._path)
        self._frames = wire.read_frames(self.reader)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, message: wire.Any) -> None:
        self.writer.write(wire.encode(message))

    async def next(self, wait_s: float = WAIT_S) -> Any:
        async with asyncio.timeout(wait_s):
            return (await anext(self._frames)).decode()

    async def rest(self, wait_s: float = WAIT_S) -> list[Any]:
        """Read up to the last frame."""
        found = [await self.next(wait_s)]
        while not isinstance(found[-1], LAST):
            found.append(await self.next(wait_s))
        return found

    async def ask(self, message: wire.Any, wait_s: float = WAIT_S) -> list[Any]:
        self.send(message)
        return await self.rest(wait_s)

    async def until(self, kind: type) -> Any:
        while not isinstance(message := await self.next(), kind):
            assert not isinstance(message, wire.Done | wire.Failure), message
        return message


LAST = wire.Done | wire.Failure | wire.Loaded | wire.Planned | wire.Lines | wire.Course


async def ask(node: Node, message: wire.Any) -> list[Any]:
    async with node.talk() as talk:
        return await talk.ask(message)


def text(frames: list[Any]) -> str:
    return "".join(frame.text for frame in frames if isinstance(frame, wire.Delta))


def fake(name: str, **options: str | int | float | bool) -> wire.ModelSpec:
    fields = {
        key: options.pop(key)
        for key in ("max_concurrency", "max_queue", "version", "pinned", "idle_unload_s")
        if key in options
    }
    return wire.ModelSpec(
        name=name,
        kind="llm",
        engine="fake",
        path="",
        options=options,
        **fields,  # type: ignore[arg-type]
    )


def generate(spec: wire.ModelSpec, words: str, tokens: int = 5, **values: float) -> wire.Submit:
    body = wire.Generate(
        prompt=wire.TextPrompt(text=words), sampling=wire.Sampling(max_tokens=tokens)
    )
    return wire.Submit(request_id="test", spec=spec, body=body, **values)  # type: ignore[arg-type]


@asynccontextmanager
async def watching(
    node: Node, interval_s: float = 0.1
) -> AsyncIterator[AsyncIterator[wire.Snapshot]]:
    async def snapshots(talk: Talk) -> AsyncIterator[wire.Snapshot]:
        while True:
            yield await talk.until(wire.Snapshot)

    async with node.talk() as talk:
        talk.send(wire.Watch(interval_s=interval_s))
        yield snapshots(talk)


async def status(
    node: Node, name: str, wanted: Callable[[wire.ModelStatus], bool]
) -> wire.ModelStatus:
    """Wait until the node shows what is wanted of a model."""
    async with asyncio.timeout(WAIT_S), watching(node) as snapshots:
        async for snapshot in snapshots:
            for model in snapshot.models:
                if model.name == name and wanted(model):
                    return model
    raise AssertionError
