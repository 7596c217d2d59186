"""A node that is killed and started again: who waited is served, who listened is told."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import router, wire
from inference.errors import EngineFailed, NodeUnavailable
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

Start = Callable[..., Node]
BODY = wire.Generate(prompt=wire.TextPrompt(text="one two"), sampling=wire.Sampling(max_tokens=2))


@pytest.fixture
def begin(start: Start, settings: Settings, tmp_path: Path) -> Start:
    settings.HUB_NODE_ADDRESS = f"unix:{tmp_path / 'n.sock'}"
    return start


def kill(node: Node, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(node.process.pid, number)
    node.process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_request_that_waits_is_served_by_the_next_node(
    begin: Start, number: signal.Signals
) -> None:
    spec = nodes.fake("m", load_s=1.0)
    node, heard = begin(), list[wire.Any]()
    async with router.open(spec, BODY, request_id="r", tick_s=0.05) as answer:
        async for message in answer:
            heard.append(message)
            if isinstance(message, wire.Progress) and node.process.poll() is None:
                kill(node, number)
                (node_again,) = [begin()]
    assert nodes.text(heard) == "one two"
    assert isinstance(heard[-1], wire.Done)
    assert node_again.process.poll() is None


async def test_it_tells_why_it_waits_while_there_is_no_node(begin: Start) -> None:
    node = begin()
    async with router.open(
        nodes.fake("m", load_s=5.0), BODY, request_id="r", tick_s=0.05
    ) as answer:
        async for message in answer:
            if isinstance(message, wire.Progress) and message.state == "loading":
                kill(node)
            if message == router.AWAY:
                break
    assert "starting again" in router.AWAY.reason


async def test_it_gives_up_when_no_node_comes(
    begin: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "RESTART_S", 0.2)
    node = begin()
    with pytest.raises(NodeUnavailable) as caught:  # noqa: PT012 (the loop is what raises)
        async with router.open(nodes.fake("m", load_s=5.0), BODY, request_id="r") as answer:
            async for message in answer:
                if isinstance(message, wire.Progress) and message.state == "loading":
                    kill(node)
    assert caught.value.retry_after_s


async def test_an_answer_that_has_begun_fails_and_is_not_repeated(begin: Start) -> None:
    node = begin()
    spec = nodes.fake("m", tokens_per_s=20, reply="la")
    long = wire.Generate(prompt=BODY.prompt, sampling=wire.Sampling(max_tokens=10_000))
    with pytest.raises(EngineFailed, match="mid-answer"):  # noqa: PT012
        async with router.open(spec, long, request_id="r") as answer:
            async for message in answer:
                if isinstance(message, wire.Delta) and node.process.poll() is None:
                    kill(node)
