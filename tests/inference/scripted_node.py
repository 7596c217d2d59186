"""A node of the tests' own: it speaks the wire protocol and answers as a test says.

It shows what a client of the node does: how many connections, what was sent, when one was closed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from inference import wire


class Line:
    """One connection, from the node's side."""

    def __init__(self, node: "ScriptedNode", writer: asyncio.StreamWriter) -> None:
        self.node = node
        self._writer = writer
        self.closed = asyncio.Event()

    async def send(self, *messages: wire.Any) -> None:
        self._writer.write(b"".join(wire.encode(message) for message in messages))
        await self._writer.drain()

    def hang_up(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Line, wire.Any], Awaitable[None]]


class ScriptedNode:
    """Runs `script` for each question; `lines` holds every connection that was ever made."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.lines: list[Line] = []
        self.questions: list[wire.Any] = []

    @property
    def submitted(self) -> list[wire.Submit]:
        return [question for question in self.questions if isinstance(question, wire.Submit)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(self, writer)
        self.lines.append(line)
        running: list[asyncio.Task[None]] = []
        try:
            async for frame in wire.read_frames(reader):
                question = frame.decode()
                self.questions.append(question)
                running.append(asyncio.create_task(self._answer(line, question)))
        except ConnectionError:
            pass
        finally:
            line.closed.set()
            for task in running:
                task.cancel()
            writer.transport.abort()

    async def _answer(self, line: Line, question: wire.Any) -> None:
        try:
            await self.script(line, question)
        except ConnectionError:
            line.closed.set()


@asynccontextmanager
async def scripted(path: Path, script: Script) -> AsyncIterator[ScriptedNode]:
    """Listen on a unix socket."""
    node = ScriptedNode(script)
    server = await asyncio.start_unix_server(node.serve, path)
    try:
        yield node
    finally:
        server.close()
        for line in node.lines:
            line.hang_up()
