"""Libraries of an engine write nothing behind the operator's back."""

import subprocess
import sys
from pathlib import Path

from inference.node import process

# Onnxruntime keeps a database of events for its maker where nobody forbids it.
HEARING = """
import numpy, time
from faster_whisper.vad import get_speech_timestamps
get_speech_timestamps(numpy.zeros(48_000, dtype=numpy.float32))
time.sleep(1)
"""


def test_an_engine_that_hears_leaves_no_telemetry(tmp_path: Path) -> None:
    environment = process.environment(1, tmp_path)
    subprocess.run([sys.executable, "-c", HEARING], env=environment, check=True, timeout=120)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
