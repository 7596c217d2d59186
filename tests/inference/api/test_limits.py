"""Limits of a key as a client sees them: headers that count down, then 429 with a time to wait."""

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import MODELS, chat, says
from tests.inference.scripted_node import scripted


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    config = tmp_path_factory.mktemp("config") / "hub.json"
    config.write_text(json.dumps({"rate_limits": {"requests_per_minute": 2}}))
    with servers.hub(
        MODELS, node_address=f"unix:{config.parent}/node.sock", AI_HUB_CONFIG=str(config)
    ) as hub:
        yield hub


async def test_a_limit_counts_down_and_then_holds(limited: servers.Hub) -> None:
    path = Path(limited.node_address.removeprefix("unix:"))
    answer = says(wire.Delta(text="x", finish_reason="stop"), wire.Done())
    async with (
        scripted(path, answer) as node,
        openai.AsyncOpenAI(
            base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=0
        ) as client,
    ):
        completions = client.chat.completions.with_raw_response
        left = []
        for _ in range(2):
            raw = await completions.create(**chat())
            left.append(raw.headers["x-ratelimit-remaining-requests"])
            assert raw.headers["x-ratelimit-limit-requests"] == "2"
            assert raw.headers["x-ratelimit-reset-requests"]
        with pytest.raises(openai.RateLimitError) as caught:
            await completions.create(**chat())
    assert left == ["1", "0"]
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert int(caught.value.response.headers["retry-after-ms"]) > 0
    assert len(node.questions) == 2
