"""Unmodified clients against a whole hub with the real starter models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pytest

from tests import environments
from tests.real_hub import Hub

pytestmark = [pytest.mark.clients, pytest.mark.models]
PROGRAMS = Path(__file__).parent / "programs"
SPOKEN = (
    "and mister john dashwood had then leisure to consider how much there might be prudently in "
    "his power to do for them"
)
NPM_CLIENT = "openai@7.57.0"


def run(command: list[str], hub: Hub, *arguments: str, cwd: Path | None = None) -> dict[str, Any]:
    """Run a client's program and give its findings."""
    whole = [*command, hub.base_url, hub.key, *arguments]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=240, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    findings: dict[str, Any] = json.loads(done.stdout)
    return findings


def word_errors(text: str) -> float:
    plain = "".join(c for c in text.lower().replace("mr.", "mister") if c.isalpha() or c == " ")
    return float(jiwer.wer(SPOKEN, plain))


@pytest.mark.parametrize("environment", ["", "clients"], ids=["openai-3", "openai-2"])
def test_it_serves_the_official_python_client(
    running_hub: Hub, speech: Path, environment: str
) -> None:
    python = environments.python_of(environment) if environment else Path(sys.executable)
    program = str(PROGRAMS / "openai_check.py")
    found = run([str(python), program], running_hub, str(speech))
    assert found["version"].startswith("2." if environment else "3.")
    assert {"gpt-4o", "smollm2-135m-instruct", "whisper-1"} <= set(found["models"])
    assert "hello" in found["chat"]["text"].lower()
    assert found["chat"]["finish"] in {"stop", "length"}
    assert found["chat"]["completion_tokens"] >= found["chat"]["pieces"] - 1 > 1
    assert found["embeddings"]["near"] > 0.5 > 0.3 > found["embeddings"]["far"]
    assert word_errors(found["transcript"]) < 0.2
    assert found["refused"] == "invalid_api_key"
    assert found["unknown_model"] == "model_not_found"


def test_it_serves_the_npm_client(running_hub: Hub, speech: Path) -> None:
    folder = environments.node_modules(NPM_CLIENT)
    program = folder / "openai_check.mjs"  # imports are looked up beside the program
    program.write_text((PROGRAMS / "openai_check.mjs").read_text())
    found = run([*environments.node(), str(program)], running_hub, str(speech), cwd=folder)
    assert "hello" in found["chat"]["text"].lower()
    assert found["embeddings"] == [384, 384]
    assert word_errors(found["transcript"]) < 0.2
    assert found["refused"] == "401 invalid_api_key"


def test_it_serves_langchain(running_hub: Hub) -> None:
    python = str(environments.python_of("clients"))
    found = run([python, str(PROGRAMS / "langchain_check.py")], running_hub)
    assert "hello" in found["text"].lower()
    assert found["streamed"] == found["text"]
    assert found["tokens"] > 0
    assert found["vectors"] == [384, 384]
    assert found["query"] == 384
