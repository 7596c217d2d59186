"""What authentication, limits and the ledger of use add to a warm request: with and without, in turn.

The `/v1` application in this process, a real Valkey and database, and a node that answers at once. A
query of the database on the way of a request ends the benchmark.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bench import report

ROUNDS, REQUESTS = 15, 200
OFF_THE_WAY = ("usage", "shares")  # threads that no request waits for
GOAL_MS = 1.0
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}


def prepare(folder: Path) -> str:
    """Make a hub's database with one model and one key; give the key."""
    os.environ.update(
        AI_HUB_DATA=str(folder),
        AI_HUB_REDIS_URL=f"unix://{folder}/valkey.sock",
        AI_HUB_NODE_ADDRESS=f"unix:{folder}/node.sock",
        DJANGO_SETTINGS_MODULE="hub.settings",
    )
    manage = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(manage, check=True)
    model = {"name": "chat", "kind": "llm", "engine": "fake", "path": "/m"}
    wanted = json.dumps({"models": [model], "keys": {"default": {}}})
    made = subprocess.run(
        [sys.executable, "-m", "tests.seed"],
        input=wanted,
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(made.stdout)["default"])


async def answer(line: Any, _question: Any) -> None:
    from inference import wire  # noqa: PLC0415 (Django comes first)

    usage = wire.Usage(prompt_tokens=3, completion_tokens=1)
    await line.send(wire.Delta(text="x", tokens=1, finish_reason="stop"), wire.Done(usage=usage))


async def ask(key: str) -> tuple[float, float]:
    """Send one request; give the ms until its answer was sent, and until all was done."""
    from inference.api.app import application  # noqa: PLC0415

    body, sent_s, left = json.dumps(BODY).encode(), 0.0, asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent_s
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            sent_s = time.perf_counter()

    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": headers,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    started_s = time.perf_counter()
    await application(scope, receive, send)
    return (sent_s - started_s) * 1e3, (time.perf_counter() - started_s) * 1e3


@contextlib.contextmanager
def without(principal: Any) -> Iterator[None]:
    """Leave out authentication, limits and ledger."""
    from inference.api import call, door, noting  # noqa: PLC0415

    async def enter(_request: Any) -> Any:
        return principal

    @contextlib.asynccontextmanager
    async def admitted(self: Any, _tokens: int) -> AsyncIterator[None]:
        yield
        self.meter.report(self.model)

    with (
        mock.patch.object(door, "enter", enter),
        mock.patch.object(call.Call, "admitted", admitted),
        mock.patch.object(noting, "note"),
    ):
        yield


@contextlib.contextmanager
def no_queries() -> Iterator[list[str]]:
    """Note every query of a thread that a request may wait for."""
    from django.db.backends.utils import CursorWrapper  # noqa: PLC0415

    queries: list[str] = []
    execute = CursorWrapper.execute

    def noting(self: Any, sql: str, params: Any = None) -> Any:
        name = threading.current_thread().name
        if name not in OFF_THE_WAY and not name.startswith("Thread-"):  # those are timers
            queries.append(sql)
        return execute(self, sql, params)

    with mock.patch.object(CursorWrapper, "execute", noting):
        yield queries


async def measure(folder: Path, key: str) -> list[report.Row]:
    from accounts.authentication import authenticate  # noqa: PLC0415
    from tests.inference.scripted_node import scripted  # noqa: PLC0415

    principal = await authenticate({"x-api-key": key}, "127.0.0.1")
    added: list[float] = []
    added_in_all: list[float] = []
    both: tuple[list[float], list[float]] = ([], [])
    async with scripted(folder / "node.sock", answer):
        for _ in range(100):
            await ask(key)
        with no_queries() as queries:
            for _ in range(ROUNDS):
                times = await one_round(key, principal)
                sent = [statistics.median(one[0] for one in way) for way in times]
                done = [statistics.median(one[1] for one in way) for way in times]
                added.append(sent[0] - sent[1])
                added_in_all.append(done[0] - done[1])
                both[0].append(done[0])
                both[1].append(done[1])
    if queries:
        raise RuntimeError(f"{len(queries)} queries: {queries[0]}")
    return rows_of(added, added_in_all, both)


async def one_round(key: str, principal: Any) -> tuple[list[Any], list[Any]]:
    """Ask with and without in turn, request by request."""
    ours, bare = [], []
    for n in range(REQUESTS):
        for way in (0, 1) if n % 2 else (1, 0):
            if way == 0:
                ours.append(await ask(key))
            else:
                with without(principal):
                    bare.append(await ask(key))
    return ours, bare


def rows_of(
    added: list[float], in_all: list[float], both: tuple[list[float], list[float]]
) -> list[report.Row]:
    def met(values: list[float]) -> str:
        return "yes" if statistics.median(values) <= GOAL_MS else "no"

    goal = f"<= {GOAL_MS:.0f} ms"
    spread = report.spread
    return [
        report.Row(
            "added until the answer was sent, ms", spread(added, 3), "", "", goal, met(added)
        ),
        report.Row("added in all, ms", spread(in_all, 3), "", "", goal, met(in_all)),
        report.Row(
            "a warm request, ms (peer: without them)", spread(both[0], 3), spread(both[1], 3), ""
        ),
        report.Row("queries of the database on its way", "0", "", "", "0", "yes"),
    ]


def main(_data: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        key = prepare(folder)
        import django  # noqa: PLC0415

        django.setup()
        from hub.supervisor import valkey  # noqa: PLC0415

        argv = valkey.command(folder / "valkey.sock", folder)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
            try:
                valkey.wait_ready(os.environ["AI_HUB_REDIS_URL"], server)
                rows = asyncio.run(measure(folder, key))
            finally:
                server.kill()
    notes = [
        f"{ROUNDS} rounds of {REQUESTS} requests each way, one after another; medians of rounds."
    ]
    report.save("3b-access", "What authentication, limits and the ledger of use add", rows, notes)


if __name__ == "__main__":
    main(Path())
