"""Every operation of the schema, /v1 too, called with what schemathesis thinks of.

A slice here; `AI_HUB_TEST_FUZZ_S=600` makes it a run of ten minutes by hand.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import environments, servers
from tests.inference import hub_server
from tests.inference.hub_server import Behaviour
from tests.servers import Hub

ROOMS = ("inference", "models", "keys", "status", "usage", "admin", "teams", "files", "datasets")
SCOPES = [f"{room}:*" for room in (*ROOMS, "training")]
N_KEYS = 20  # each may call 600 times a minute
CHECKS = "not_a_server_error,content_type_conformance,refusals_have_the_envelope"
TIME_S = os.environ.get("AI_HUB_TEST_FUZZ_S", "")
BODIES = "2000" if TIME_S else "2"  # for each operation
FAKE = {"engine": "fake", "path": "/nowhere", "size_bytes": 1000, "context_tokens": 4096}
MODELS = [{"name": kind, "kind": kind} | FAKE for kind in ("llm", "embed", "asr")]


@pytest.fixture(scope="module")
def tool() -> Path:
    try:
        return environments.python_of("fuzz").with_name("schemathesis")
    except environments.CannotInstall as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def hub(tool: Path) -> Iterator[Hub]:
    with (
        hub_server.serving(Behaviour({"org/tiny": {}})) as models,
        servers.hub(MODELS, AI_HUB_HF_ENDPOINT=models.url) as started,
    ):
        yield started


def admin_key(hub: Hub) -> str:
    """Make an admin and a key that may do everything."""
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    made = ""
    for command, text in (
        (["create_admin", "--username", "ada"], "a long enough pass phrase 7\n"),
        (["create_key", "--user", "ada", "--name", "fuzz", *scopes], ""),
    ):
        argv = [sys.executable, "manage.py", *command]
        made = subprocess.run(
            argv, env=hub.env, cwd=servers.ROOT, input=text, text=True, stdout=-1, check=True
        ).stdout
    return made.strip()


def new_key(hub: Hub, headers: dict[str, str]) -> str:
    body = {"name": "fuzz", "scopes": SCOPES}
    made = httpx.post(f"{hub.url}/api/v1/keys", json=body, headers=headers, timeout=60)
    return str(made.json()["key"])


@pytest.mark.timeout(1800)
def test_no_operation_breaks(hub: Hub, tool: Path, tmp_path: Path) -> None:
    headers = {"x-api-key": admin_key(hub)}
    keys = [new_key(hub, headers) for _ in range(N_KEYS)]
    schema = httpx.get(f"{hub.url}/api/schema?format=json", headers=headers, timeout=60)
    assert schema.status_code == 200
    assert {"/v1/chat/completions", "/v1/files", "/api/v1/keys"} <= schema.json()["paths"].keys()
    (tmp_path / "schema.json").write_text(schema.text)
    command = [str(tool), "run", "schema.json", "--url", hub.url, "--no-color", "--seed", "7"]
    command += ["--checks", CHECKS, "--phases", "fuzzing", "--max-examples", BODIES]
    command += ["--max-time", TIME_S] if TIME_S else []
    env = os.environ | {
        "FUZZ_KEYS": " ".join(keys),
        "SCHEMATHESIS_HOOKS": "fuzz_checks",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    sys.stdout.write(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "Traceback" not in hub.log("web")
