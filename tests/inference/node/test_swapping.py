"""Two clients swap two models at once where one has room, while engines and the node are killed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.inference.node import swapping
from tests.inference.node.nodes import Node
from tests.inference.node.swapping import KILLS, LIMIT_BYTES, NODE_KILLS, ROUNDS

RECOVERY_S = 5.0 + 3.0  # beyond a load, which takes a new process here


@pytest.mark.timeout(240)
async def test_a_hundred_rounds_of_swaps_survive_kills(
    start: Callable[..., Node], settings: Settings, tmp_path: Path
) -> None:
    settings.HUB_NODE_ADDRESS = f"unix:{tmp_path / 'n.sock'}"
    outcome = await swapping.rounds(start, swapping.fakes())
    assert sum(outcome.served.counts.values()) >= 2 * ROUNDS
    assert min(outcome.served.counts.values()) >= ROUNDS
    assert len(outcome.took_s) == KILLS + NODE_KILLS
    assert max(outcome.took_s) < RECOVERY_S
    assert len(outcome.served.failures) <= 2 * len(outcome.took_s)
    assert outcome.watcher.looks > 10
    assert outcome.watcher.most_engines == 1
    assert outcome.watcher.most_bytes <= LIMIT_BYTES
