"""Twelve models of every kind in the memory of four: real engines, a real node, a recorded trace."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inference.node import bed, traces
from tests.inference.node.nodes import Node
from tests.inference.node.replay import replay

ASKS, FASTER, DEADLINE_S = 40, 1.5, 120.0
LEFT_OUT = {"poem", "old", "rank"}  # asked for much later in the trace


@pytest.mark.timeout(240)
async def test_twelve_models_share_the_memory_of_four(
    start: Callable[..., Node], tmp_path: Path
) -> None:
    specs = bed.specs(tmp_path, bed.KINDS.keys() - LEFT_OUT)
    trace = [ask for ask in traces.recorded() if ask.model in specs][:ASKS]
    limit_bytes = bed.crowded(specs.values(), tmp_path)
    node = start(memory_limit_bytes=limit_bytes)
    outcome = await replay(node, trace, specs, faster=FASTER, deadline_s=DEADLINE_S)
    assert outcome.failures == []
    assert len(outcome.waits_s) == ASKS
    assert outcome.evictions
    assert outcome.looks > ASKS
    assert outcome.peak_bytes <= limit_bytes
