"""Who asks for a GPU that is not there is told at once, in one line, and nothing starts."""

from pathlib import Path

import pytest

from inference.node import devices
from tests.hub import processes


@pytest.mark.parametrize("command", ["runhub", "serve_models"])
def test_it_refuses_to_start_without_the_gpu_it_was_told_to_use(
    tmp_path: Path, command: str
) -> None:
    if devices.find("auto")[1:]:
        pytest.skip("this machine has a GPU")
    done = processes.manage(tmp_path, 1, command, AI_HUB_DEVICE="cuda")
    assert done.returncode == 1
    assert "no NVIDIA GPU is found" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
