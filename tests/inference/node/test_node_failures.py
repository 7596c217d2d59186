"""What breaks hurts those it must hurt, at once and clearly, and nobody else; nothing is left behind."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from inference import wire
from inference.node.server import BadAddress, NodeSettings, serve
from tests.inference.node.nodes import (
    ROOT,
    WAIT_S,
    Node,
    ask,
    fake,
    generate,
    network_of,
    status,
    text,
)

PROMISED_S = 2.0  # from an engine's death to the error, by the operating contract


async def test_a_killed_engine_fails_only_its_own_requests(node: Node) -> None:
    doomed, other = fake("doomed", tokens_per_s=50), fake("other", tokens_per_s=50)
    async with node.talk() as first, node.talk() as second:
        second.send(generate(other, "go on", 100))
        await second.until(wire.Delta)
        others = {engine.pid for engine in node.engines()}
        first.send(generate(doomed, "x", 1_000_000))
        await first.until(wire.Delta)
        (victim,) = {engine.pid for engine in node.engines()} - others
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(PROMISED_S):
            failure = (await first.rest())[-1]
        assert failure.code == "answer_interrupted"
        assert isinstance((await second.rest())[-1], wire.Done)
    assert text(await ask(node, generate(doomed, "back", 1))) == "back"
    assert (await status(node, "doomed", lambda _: True)).failures_total == 1


async def test_a_request_that_got_nothing_yet_is_asked_of_the_next_engine(
    start: Callable[..., Node],
) -> None:
    node, spec = start(), fake("replaced")
    await ask(node, wire.Load(spec=spec))
    (engine,) = node.engines()
    os.kill(engine.pid, signal.SIGSTOP)  # so that it takes the request and says nothing
    async with node.talk() as talk:
        talk.send(generate(spec, "still here", 2))
        await status(node, "replaced", lambda m: m.running == 1)
        os.kill(engine.pid, signal.SIGKILL)
        assert text(await talk.rest()) == "still here"


async def test_a_request_that_ends_two_engines_fails(node: Node) -> None:
    spec = fake("poisoned", crash_after_tokens=0)
    frames = await ask(node, generate(spec, "x", 5))
    assert frames[-1].code == "answer_interrupted"
    assert (await status(node, "poisoned", lambda _: True)).loads_total == 2


async def test_those_who_wait_outlive_a_crash(node: Node) -> None:
    spec = fake("frail", max_concurrency=1, crash_after_tokens=3, tokens_per_s=50)
    async with node.talk() as first, node.talk() as second:
        first.send(generate(spec, "x", 100))
        await first.until(wire.Delta)
        second.send(generate(spec, "patient", 1))
        await second.until(wire.Progress)
        assert (await first.rest())[-1].code == "answer_interrupted"
        assert text(await second.rest()) == "patient"


async def test_an_engine_that_dies_at_every_load_is_given_up(node: Node) -> None:
    failure = (await ask(node, generate(fake("stillborn", crash_load=True), "x")))[-1]
    assert failure.code == "model_load_failed"
    assert "died 3 times" in failure.message


async def test_a_hanging_engine_is_found_and_ended(start: Callable[..., Node]) -> None:
    node = start(hang_s=0.5)
    frames = await ask(node, generate(fake("stuck", hang_after_tokens=2), "a b c", 100))
    assert frames[-1].code == "answer_interrupted"
    assert (await status(node, "stuck", lambda m: m.state != "ready")).failures_total == 1


async def test_a_frozen_engine_is_found_ended_and_replaced(start: Callable[..., Node]) -> None:
    node, spec = start(hang_s=1), fake("frozen", tokens_per_s=50)
    async with node.talk() as begun, node.talk() as unbegun:
        begun.send(generate(spec, "x", 1_000_000))
        await begun.until(wire.Delta)
        (engine,) = node.engines()
        os.kill(engine.pid, signal.SIGSTOP)
        unbegun.send(generate(spec, "back again", 2))
        failure = (await begun.rest())[-1]
        assert failure.code == "answer_interrupted"
        assert "hung" in failure.message
        assert text(await unbegun.rest()) == "back again"
    assert engine.pid not in {other.pid for other in node.engines()}


async def test_a_node_that_stood_still_blames_no_engine(start: Callable[..., Node]) -> None:
    """As a machine that was paused; engines are stopped with it and go on with it."""
    node, spec = start(hang_s=1), fake("calm", tokens_per_s=20)
    async with node.talk() as talk:
        talk.send(generate(spec, "x", 120))
        await talk.until(wire.Delta)
        (engine,) = node.engines()
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in (engine.pid, node.process.pid):
                os.kill(pid, number)
            if number == signal.SIGSTOP:
                await asyncio.sleep(4.0)
        assert isinstance((await talk.rest())[-1], wire.Done)
    assert engine.pid in {other.pid for other in node.engines()}


async def test_an_engine_frozen_while_it_loads_is_found_ended_and_replaced(
    start: Callable[..., Node],
) -> None:
    node, spec = start(hang_s=0.2), fake("icy", load_s=1.0)
    async with node.talk() as talk:
        talk.send(generate(spec, "thawed", 1))
        await status(node, "icy", lambda m: m.state == "loading" and bool(node.engines()))
        (engine,) = node.engines()
        os.kill(engine.pid, signal.SIGSTOP)
        async with asyncio.timeout(WAIT_S):
            assert text(await talk.rest()) == "thawed"
    assert engine.pid not in {other.pid for other in node.engines()}


async def test_an_engine_that_computes_long_is_not_taken_for_hung(
    start: Callable[..., Node],
) -> None:
    node = start(hang_s=0.2)  # it would be ended after 0.4 s
    assert text(await ask(node, generate(fake("deep", compute_s=1.2), "a b", 2))) == "a b"
    assert (await status(node, "deep", lambda _: True)).loads_total == 1


async def test_an_engine_knows_no_secret(node: Node) -> None:
    await ask(node, wire.Load(spec=fake("bare")))
    for engine in node.engines():
        known = engine.environ()
        assert not [name for name in known if name.startswith("AI_HUB")]
        assert not [name for name in known if name.lower().endswith("_proxy")]
        assert known["HF_HUB_OFFLINE"] == "1"


@pytest.fixture
def namespaces() -> None:
    check = "from inference.engines.confine import confine; raise SystemExit(not confine(0))"
    if subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode:
        pytest.skip("this kernel gives no network namespaces to this user")


@pytest.mark.usefixtures("namespaces")
async def test_an_engine_has_no_network(node: Node) -> None:
    await ask(node, wire.Load(spec=fake("alone")))
    assert network_of("self") not in {network_of(engine.pid) for engine in node.engines()}


async def test_sigterm_leaves_nothing_behind(start: Callable[..., Node]) -> None:
    node = start()
    async with node.talk() as talk:
        talk.send(generate(fake("working", tokens_per_s=20), "x", 1_000_000))
        await talk.until(wire.Delta)
        loading = asyncio.create_task(
            ask(node, wire.Load(spec=fake("slow", load_s=600.0, memory_bytes=10_000_000)))
        )
        await status(node, "slow", lambda m: m.progress > 0)
        engines = node.engines()
        assert len(engines) == 2
        node.process.terminate()
        with pytest.raises(StopAsyncIteration):  # it hangs up: who asked asks the next node
            await talk.rest()
        with pytest.raises(StopAsyncIteration):
            await loading
    assert await asyncio.to_thread(node.process.wait, 5.0) == 0
    assert not psutil.wait_procs(engines, timeout=0)[1]
    with pytest.raises(FileNotFoundError):
        await ask(node, wire.Watch())


async def test_a_killed_node_leaves_no_engine(start: Callable[..., Node]) -> None:
    node = start()
    async with node.talk() as talk:
        talk.send(generate(fake("orphan", tokens_per_s=20), "x", 1_000_000))
        await talk.until(wire.Delta)
        engines = node.engines()
        node.process.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, engines, WAIT_S)
    assert engines
    assert not alive


def test_a_new_node_ends_the_engines_that_an_old_one_lost(
    start: Callable[..., Node], tmp_path: Path
) -> None:
    """A process that looks like an engine, as the roster of a killed node names it."""
    command = "import sys, time; print('up', flush=True); time.sleep(600)"
    lost = subprocess.Popen(
        [sys.executable, "-c", command, "inference.engines.worker"],
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert lost.stdout
    lost.stdout.readline()
    (tmp_path / "state").mkdir()
    born = psutil.Process(lost.pid).create_time()
    (tmp_path / "state" / "engines.json").write_text(f'{{"{lost.pid}": {born}, "1": 0.0}}')
    start()
    assert lost.wait(WAIT_S) == -signal.SIGKILL


def test_its_socket_is_its_owners_only(node: Node) -> None:
    assert stat.S_IMODE(Path(node.path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("address", "wrong"),
    [
        ("unix:/tmp/" + "x" * 120, "107"),
        ("tcp:0.0.0.0:9", "loopback"),
        ("tcp:example.org:9", "loopback"),
        ("http://x", "neither"),
    ],
)
async def test_a_bad_address_is_a_clear_error(tmp_path: Path, address: str, wrong: str) -> None:
    with pytest.raises(BadAddress, match=wrong):
        await serve(NodeSettings(address=address, state_dir=tmp_path))


async def test_a_second_node_at_the_same_place_is_refused(node: Node, tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="another node"):
        await serve(NodeSettings(address=f"unix:{node.path}", state_dir=tmp_path))
