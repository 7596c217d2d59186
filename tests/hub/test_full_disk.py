"""A full disk is told as such everywhere, and the hub goes on by itself when there is room again."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests import servers

PASSWORD = "a long enough password 4711"
SIZE_MIB = 96  # over what `/readyz` calls almost full


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a small file system of its own; only root may."""
    place = tmp_path_factory.mktemp("disk")
    options = f"size={SIZE_MIB}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def web(small_disk: Path) -> Iterator[servers.Hub]:
    before, tempfile.tempdir = tempfile.tempdir, str(small_disk)
    keys = {"default": {}, "admin": {"scopes": ["keys:manage"]}}
    try:
        with servers.hub(keys=keys, node_address="unix:/nowhere/node.sock") as hub:
            create = ["manage.py", "create_admin", "--username", "boss"]
            servers._run(hub, create, PASSWORD)
            yield hub
    finally:
        tempfile.tempdir = before


@pytest.fixture
def full(web: servers.Hub) -> Iterator[Path]:
    """Leave no byte free."""
    filler = web.data / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(4096))
    assert shutil.disk_usage(web.data).free == 0
    yield filler
    filler.unlink(missing_ok=True)


def issue(hub: servers.Hub) -> httpx.Response:
    headers = {"x-api-key": hub.keys["admin"]}
    body = {"name": "another", "scopes": ["keys:manage"]}
    return httpx.post(f"{hub.url}/api/v1/keys", json=body, headers=headers, timeout=60)


def fill_database(hub: servers.Hub) -> httpx.Response:
    """Write until SQLite's log file, which may still have room of its own, is full too."""
    for _ in range(2_000):
        answer = issue(hub)
        if answer.status_code != 201:
            return answer
    raise AssertionError("the disk never was full")


def disk_check(hub: servers.Hub) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{hub.url}/readyz", timeout=60).json()["checks"]["disk"]
    return found


def test_a_full_disk_is_told_and_heals(web: servers.Hub, full: Path) -> None:
    refused = fill_database(web)
    assert refused.status_code == 507
    assert refused.json()["error"]["code"] == "insufficient_storage"
    assert "disk is full" in refused.json()["error"]["message"]
    assert disk_check(web)["ok"] is False
    reading = httpx.get(f"{web.url}/v1/models", headers={"x-api-key": web.key}, timeout=60)
    assert reading.status_code == 200, web.log("web")[-3000:]
    full.unlink()
    assert issue(web).status_code == 201
    assert disk_check(web) == {"ok": True, "reason": ""}


def test_the_login_page_says_it(web: servers.Hub, full: Path) -> None:
    fill_database(web)
    with httpx.Client(base_url=web.url, timeout=60) as browser:
        browser.get("/login/")
        form = {
            "username": "boss",
            "password": PASSWORD,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        answer = browser.post("/login/", data=form, headers={"Referer": web.url})
    assert answer.status_code == 507
    assert "The disk is full" in answer.text


def test_a_command_says_it_in_one_line(web: servers.Hub, full: Path) -> None:
    fill_database(web)
    command = [sys.executable, "manage.py", "create_key", "--user", "boss", "--name", "k"]
    done = subprocess.run(
        command, env=web.env, cwd=servers.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("The hub's disk is full")


def test_redis_takes_writes_that_it_cannot_keep(web: servers.Hub, full: Path) -> None:
    with redis.Redis.from_url(web.env["AI_HUB_REDIS_URL"]) as client:
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            pass
        assert client.info("persistence")["rdb_last_bgsave_status"] == "err"
        assert client.set("counted", 1)
