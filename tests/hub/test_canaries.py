"""A busy minute with planted secrets and words: none of them stays anywhere but where it must."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from accounts import crypto
from tests import servers
from tests.e2e.prepare import PASSWORD
from tests.hub import kept
from tests.servers import Hub

CANARIES = {
    "wrong password": "canary-Quince-71-wrong",
    "password as a name": "canary-Medlar-72-name",
    "prompt": "canary-Loquat-73-prompt",
    "streamed prompt": "canary-Rowan-74-stream",
    "embedded text": "canary-Sorb-75-embed",
    "hub token": "hf_canaryDamson76token",
    "upstream key": "sk-canaryBullace77",
    "query": "canary-Sloe-78-query",
    "header": "canary-Hawthorn-79-header",
    "refused body": "canary-Elder-80-refused",
}
MODELS = [
    {"name": "m", "kind": "llm", "engine": "fake", "path": "/nowhere", "size_bytes": 1000},
    {"name": "e", "kind": "embed", "engine": "fake", "path": "/nowhere", "size_bytes": 1000},
]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    options = {"context_tokens": 2048, "settings": {"options": {"memory_bytes": 10_000_000}}}
    models = [{**model, **options} for model in MODELS]
    level: dict[str, Any] = {"AI_HUB_LOG_LEVEL": "debug", "AI_HUB_LOG_FORMAT": "json"}
    with servers.hub(models, AI_HUB_PRIVATE_UPSTREAMS="allow", **level) as started:
        subprocess.run(
            [sys.executable, "-m", "tests.e2e.prepare"],
            env=started.env,
            cwd=servers.ROOT,
            input=json.dumps({"people": {"ada": "admin"}}),
            text=True,
            check=True,
        )
        yield started


@pytest.fixture(scope="module")
def planted(hub: Hub) -> dict[str, str]:
    """Use the hub in every way that takes a secret or somebody's words; give what was planted."""
    wrong_key = crypto.new_key().plaintext
    session = browse(hub)
    infer(hub, wrong_key)
    manage(hub)
    shown = {"password": PASSWORD, "key": hub.key[16:], "wrong key": wrong_key[16:]}
    return {**CANARIES, **shown, **sign_in(hub), **secrets_of(hub), "session": session}


def secrets_of(hub: Hub) -> dict[str, str]:
    """Give apps, codes, tokens and secrets of every kind that the hub made or was told."""
    argv = [sys.executable, "-m", "tests.hub.seed_secrets"]
    made = subprocess.run(
        argv, env=hub.env, cwd=servers.ROOT, text=True, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, str] = json.loads(made.stdout)
    assert len(found) > 15
    return found


def sign_in(hub: Hub) -> dict[str, str]:
    """Give what a program gets for a password."""
    body = {"username": "ada", "password": PASSWORD}
    tokens = httpx.post(f"{hub.url}/api/v1/auth/token", json=body, timeout=60).json()
    return {name: tokens[name] for name in ("access_token", "refresh_token")}


def browse(hub: Hub) -> str:
    """Give the key of the session, which is in the cookie."""
    with httpx.Client(base_url=hub.url, timeout=60) as browser:
        for name, password in (
            ("ada", CANARIES["wrong password"]),
            (CANARIES["password as a name"], "x"),
            ("ada", PASSWORD),
        ):
            browser.get("/login/", params={"x": CANARIES["query"]})
            fields = {"username": name, "password": password}
            fields["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
            answer = browser.post("/login/", data=fields, headers={"origin": hub.url})
        assert answer.status_code == 302
        assert browser.get("/").status_code == 200
        return browser.cookies["sessionid"]


def infer(hub: Hub, wrong_key: str) -> None:
    def chat(text: str, **more: object) -> dict[str, object]:
        return {"model": "m", "messages": [{"role": "user", "content": text}], **more}

    with hub.client() as client:
        client.headers["x-note"] = CANARIES["header"]
        assert client.post("/chat/completions", json=chat(CANARIES["prompt"])).status_code == 200
        body = chat(CANARIES["streamed prompt"], stream=True)
        assert "[DONE]" in client.post("/chat/completions", json=body).text
        body = {"model": "e", "input": CANARIES["embedded text"]}
        assert client.post("/embeddings", json=body).status_code == 200
        body = chat(CANARIES["refused body"], nonsense=CANARIES["refused body"])
        assert client.post("/chat/completions", json=body).status_code == 400
    with hub.client(key=wrong_key) as stranger:
        assert stranger.post("/chat/completions", json=chat("x")).status_code == 401


def manage(hub: Hub) -> None:
    argv = [sys.executable, "manage.py", "set_secret", "huggingface_token"]
    subprocess.run(
        argv, env=hub.env, cwd=servers.ROOT, input=CANARIES["hub token"], text=True, check=True
    )
    named = ["--user", "ada", "--name", "k", "--scope", "models:write"]
    argv = [sys.executable, "manage.py", "create_key", *named]
    made = subprocess.run(
        argv, env=hub.env, cwd=servers.ROOT, text=True, capture_output=True, check=True
    )
    body = {
        "source": "remote",
        "name": "far",
        "base_url": "http://127.0.0.1:9/v1",
        "upstream_model": "x",
        "api_key": CANARIES["upstream key"],
    }
    key = made.stdout.strip()
    answer = httpx.post(f"{hub.url}/api/v1/models/add", json=body, headers={"x-api-key": key})
    assert answer.status_code == 201, answer.text
    with hub.client() as client:  # its engine starts with the upstream's key, and reaches nobody
        asked = {"model": "far", "messages": [{"role": "user", "content": CANARIES["prompt"]}]}
        assert client.post("/chat/completions", json=asked).status_code >= 500


def held(places: dict[str, bytes], planted: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (place, name)
        for place, content in places.items()
        for name, canary in planted.items()
        if canary.encode() in content
    ]


def files(folder: Path) -> dict[str, bytes]:
    """Read database, logs, spools and whatever else the hub keeps."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("hub.sqlite3") for path in found)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_no_file_keeps_any(hub: Hub, planted: dict[str, str]) -> None:
    assert held(files(hub.data), planted) == []


def test_no_row_keeps_any(hub: Hub, planted: dict[str, str]) -> None:
    rows = kept.of_tables(hub.data / "hub.sqlite3")
    assert b"_auth_user_id" in rows["sessions, unpacked"]
    assert held(rows, planted) == []


def test_redis_keeps_none(hub: Hub, planted: dict[str, str]) -> None:
    found = kept.of_redis(redis.Redis.from_url(hub.env["AI_HUB_REDIS_URL"]))
    assert found
    assert held(found, planted) == []


def test_they_would_be_found_in_a_key_of_any_type(redis_url: str) -> None:
    client, canary = redis.Redis.from_url(redis_url), f"leak-{'x' * 200}-71"
    client.flushall()
    client.set("string", canary)
    client.hset("hash", "field", canary)
    client.sadd("set", canary)
    client.zadd("zset", {canary: 1.0})
    client.rpush("list", canary)
    client.xadd("stream", {"field": canary})
    try:
        found = held(kept.of_redis(client), {"planted": canary})
        assert sorted(key for key, _ in found) == sorted(repr(kind) for kind in kept.READERS)
    finally:
        client.flushall()


def test_no_process_carries_any(hub: Hub, planted: dict[str, str]) -> None:
    """Engines get a bare environment: none of the hub's own secrets either."""
    own = {path.name: path.read_text().strip() for path in (hub.data / "secrets").iterdir()}
    engines = psutil.Process(hub.processes["node"].pid).children(recursive=True)
    assert engines
    for process in engines:
        text = json.dumps([process.environ(), process.cmdline()]).encode()
        assert held({process.name(): text}, planted | own) == []
        assert "AI_HUB_DATABASE_URL" not in process.environ()


def test_the_canaries_would_be_found(hub: Hub, planted: dict[str, str]) -> None:
    (hub.data / "leak.log").write_text(f"got {planted['prompt']}")
    try:
        assert held(files(hub.data), planted) == [("leak.log", "prompt")]
    finally:
        (hub.data / "leak.log").unlink()
