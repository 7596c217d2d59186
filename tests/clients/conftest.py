"""One whole hub, as `make run` starts it, for all clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models, real_hub


@pytest.fixture(scope="session")
def running_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_hub.Hub]:
    models.smollm2_gguf()
    with real_hub.running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def speech() -> Path:
    return Path(__file__).parents[1] / "data" / "speech" / "sense_and_sensibility_0870.flac"
