"""Whatever computes with models or data starts without the hub's secrets, whichever kind it is."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import preparation, wire
from inference.engines import vllm_command
from inference.engines.base import Setting
from inference.node import process
from training import processes

ROOT = Path(__file__).parents[2]
SECRETS = {
    "AI_HUB_SECRET_KEY": "canary-1",
    "AI_HUB_KEY_PEPPER": "canary-2",
    "AI_HUB_FIELD_KEY": "canary-3",
    "AI_HUB_DATABASE_URL": "postgresql://hub:canary-4@db/hub",
    "AI_HUB_REDIS_URL": "redis://:canary-5@redis",
    "DATABASE_URL": "canary-6",
    "PGPASSWORD": "canary-7",
    "HF_TOKEN": "canary-8",
    "OPENAI_API_KEY": "canary-9",
    "AWS_SECRET_ACCESS_KEY": "canary-10",
    "MLFLOW_TRACKING_PASSWORD": "canary-11",
    "HTTPS_PROXY": "http://me:canary-12@proxy",
}


def of_vllm(_folder: Path) -> dict[str, str]:
    spec = wire.ModelSpec(name="m", version="1", kind="llm", engine="llm_vllm", path="/m")
    setting = Setting(1, "cuda", 0, lambda _done, _all: None)
    return vllm_command.environment(os.environ, spec, vllm_command.Options(), setting, "own")


MADE: dict[str, Callable[[Path], dict[str, str]]] = {
    "engines": lambda folder: process.environment(1, folder),
    "vLLM's server": of_vllm,
    "conversions": lambda _: preparation._environment(),
    "trainings, exports, checks of data": lambda _: processes.environment(),
}


@pytest.mark.parametrize("kind", MADE)
def test_it_carries_no_secret(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    made = MADE[kind](tmp_path)
    assert made["PATH"] == os.environ["PATH"]
    assert not SECRETS.keys() & made.keys()
    assert "canary" not in "".join(made.values())


# Children that are given all that their parent has, and why.
INHERIT = {
    "inference/downloads.py",  # pip, which reads its own settings there
    "inference/sources.py",  # the same
    "inference/node/devices.py",  # the driver's own program
    "training/run/ranks.py",  # of a training, whose environment is bare itself
}


STARTERS = {"subprocess.run", "subprocess.Popen", "asyncio.create_subprocess_exec"}


def inherits(node: ast.AST) -> bool:
    """Tell of a call that says nothing of the environment, and of `{**os.environ, ...}`."""
    if isinstance(node, ast.Call):
        says = any(word.arg == "env" for word in node.keywords)
        return ast.unparse(node.func) in STARTERS and not says
    if isinstance(node, ast.Dict):
        return "os.environ" in [ast.unparse(value) for value in node.values]
    return False


def test_no_other_child_inherits_what_its_parent_has() -> None:
    files = [file for room in ("inference", "training") for file in (ROOT / room).rglob("*.py")]
    found = {
        file.relative_to(ROOT).as_posix()
        for file in files
        if any(map(inherits, ast.walk(ast.parse(file.read_text(encoding="utf-8")))))
    }
    assert found == INHERIT
