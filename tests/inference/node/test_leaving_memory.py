"""What a leaving engine held is read before it goes, and in a thread: streams go on meanwhile."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from inference import wire
from inference.node.effects import Start
from inference.node.fleet import Fleet
from inference.node.placement import Placement
from inference.node.running import Running
from inference.node.settings import NodeSettings
from tests.inference.node.nodes import fake

MB = 1024 * 1024
HELD = 60 * MB
WAIT_S = 60.0


class Watched(Fleet):
    """Notes who reads what an engine holds, and what was read."""

    def __init__(self, settings: NodeSettings, events: "Heard") -> None:
        super().__init__(settings, events)
        self.read: list[tuple[threading.Thread, int]] = []

    def alone(self, running: Running, sizes: dict[str, int]) -> dict[str, int]:
        found = super().alone(running, sizes)
        self.read.append((threading.current_thread(), found.get("cpu", 0)))
        return found


class Heard:
    """Events of one engine: its load and its end."""

    def __init__(self) -> None:
        self.loaded, self.ended = asyncio.Event(), asyncio.Event()

    def on_loaded(self, running: Running, loaded: wire.Loaded) -> None:
        del running, loaded
        self.loaded.set()

    def on_exit(self, running: Running) -> None:
        del running
        self.ended.set()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


async def test_it_is_read_in_a_thread_while_the_engine_is_there(tmp_path: Path) -> None:
    heard = Heard()
    fleet = Watched(NodeSettings("unix:none", tmp_path, device="cpu", threads=1), heard)
    await fleet.open()
    spec = fake("leaves", memory_bytes=HELD)
    place = Placement("cpu", {"cpu": 8 * HELD}, weights_bytes=HELD, allowance_bytes=8 * HELD)
    running = fleet.start(Start(1, spec, place))
    async with asyncio.timeout(WAIT_S):
        await heard.loaded.wait()
        fleet.stop(running)
        await heard.ended.wait()
    await fleet.close()
    ((thread, held),) = fleet.read
    assert thread is not threading.main_thread()
    assert held > HELD
    assert fleet.peaks.get(spec, "cpu") >= HELD
