"""Spare processes: one for each profile, taken once, counted, replaced when they die."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference import wire
from inference.node import standby as room
from inference.node.process import EngineProcess, environment
from inference.node.residents import Model, Ticket
from inference.node.standby import Standby
from tests.inference.node.nodes import WAIT_S, fake
from tests.inference.node.worlds import spec

PLENTY = 10**12


class Hearing:
    """Collects what an engine says."""

    def __init__(self) -> None:
        self.loaded = asyncio.Event()
        self.ended = asyncio.Event()

    def on_frame(self, process: EngineProcess, frame: wire.Frame) -> None:
        assert process.alive
        if isinstance(frame.decode(), wire.Loaded):
            self.loaded.set()

    def on_exit(self, process: EngineProcess) -> None:
        assert not process.alive
        self.ended.set()


@pytest.fixture
async def standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Standby]:
    monkeypatch.setattr(room, "PROFILES", {"fake": "light"})
    monkeypatch.setattr(room, "MODULES", {"light": ("inference.engines.fake",)})
    monkeypatch.setattr(room, "USUAL_BYTES", {"light": 2_000_000})
    made = Standby(environment(1, tmp_path), count=1)
    yield made
    await made.close()


async def kept(standby: Standby) -> EngineProcess:
    standby.keep_warm("light", PLENTY)
    await standby.settled()
    (process,) = standby.processes
    return process


def waiting(engine: str) -> Model:
    asked = spec(engine, engine=engine)
    return Model(engine, asked, [], queue=[Ticket(1, asked, [], 1e9)], reason="waits for memory")


async def test_a_spare_process_becomes_an_engine(standby: Standby) -> None:
    await kept(standby)
    process, hearing = standby.take("fake"), Hearing()
    assert process
    process.listener = hearing
    process.send(wire.Start(spec=fake("m"), threads=1))
    async with asyncio.timeout(WAIT_S):
        await hearing.loaded.wait()
    await process.stop()
    assert hearing.ended.is_set()


async def test_it_is_given_away_once_and_only_to_its_kind(standby: Standby) -> None:
    process = await kept(standby)
    assert standby.take("llm_gguf") is None
    assert standby.take("fake") is process
    assert standby.take("fake") is None
    await process.stop()


async def test_it_keeps_no_second_one(standby: Standby) -> None:
    process = await kept(standby)
    assert await kept(standby) is process


async def test_its_memory_counts(standby: Standby) -> None:
    assert standby.memory_bytes() == {}
    await kept(standby)
    assert standby.memory_bytes()["light"] > 1_000_000


async def test_only_the_engine_that_would_take_it_over_inherits_its_memory(
    standby: Standby,
) -> None:
    standby.keep_warm("light", PLENTY)
    starting = standby.memory_bytes()
    assert starting["light"]
    assert standby.inherited(starting) == {}
    await standby.settled()
    assert standby.inherited({"light": 7}) == {"fake": 7}


async def test_it_stays_for_the_model_that_can_take_it_over(standby: Standby) -> None:
    process = await kept(standby)
    standby.mind([waiting("fake")], PLENTY, 0.0)
    assert standby.processes == [process]
    standby.mind([waiting("fake"), waiting("llm_gguf")], PLENTY, 0.0)
    await standby.settled()
    assert standby.processes == []


async def test_it_takes_no_memory_that_is_not_there(standby: Standby) -> None:
    standby.keep_warm("light", 10)
    await standby.settled()
    assert standby.processes == []


async def test_a_dead_one_is_replaced(standby: Standby) -> None:
    process = await kept(standby)
    process.kill()
    async with asyncio.timeout(WAIT_S):
        await process.ended.wait()
    assert standby.take("fake") is None
    assert await kept(standby) is not process


async def test_it_makes_room_for_a_model(standby: Standby) -> None:
    process = await kept(standby)
    assert standby.give_up_one()
    await standby.settled()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    assert not standby.give_up_one()


async def test_it_can_be_off(tmp_path: Path) -> None:
    off = Standby(environment(1, tmp_path), count=0)
    off.keep_warm("torch", PLENTY)
    await off.settled()
    assert off.processes == []
