"""One hub for the tests of files and uploads, with keys of several rights."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests import servers

KEYS: dict[str, dict[str, Any]] = {
    "default": {"scopes": ["files:*"]},
    "reader": {"scopes": ["files:read"]},
    "talker": {"scopes": ["inference"]},
}


@pytest.fixture(scope="module", name="web")
def _web() -> Iterator[servers.Hub]:
    with servers.hub([], {}, KEYS) as hub:
        yield hub


@pytest.fixture(name="client")
def _client(web: servers.Hub) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{web.url}/v1", api_key=web.key, max_retries=0)
