"""An edit of config/hub.json takes effect in what runs; one that is wrong changes nothing and is told."""

import json
import logging
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings

from hub import checks, config, config_watch
from tests import servers

NARROW = {"model_config": {"max_concurrent_models": 2}}


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Path:
    settings.HUB_CONFIG_FILE = tmp_path / "hub.json"
    settings.HUB_CONFIG, settings.HUB_CONFIG_PROBLEMS = config.HubConfig(), []
    settings.HUB_CONFIG_FILE.write_text("{}")
    return tmp_path / "hub.json"


def held() -> int | None:
    found: config.HubConfig = django_settings.HUB_CONFIG
    return found.model_config.max_concurrent_models


def looks(watch: config_watch.Watch) -> None:
    watch.look()
    watch.look()


def test_a_valid_edit_takes_effect_and_is_told_until_somebody_heard(file: Path) -> None:
    heard: list[int | None] = []

    def applied() -> bool:
        heard.append(held())
        return len(heard) > 1

    watch = config_watch.Watch(applied)
    looks(watch)
    file.write_text(json.dumps(NARROW))
    for _ in range(5):
        watch.look()
    assert held() == 2
    assert heard == [2, 2]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"model_config": {"max_concurrent_models": "two"}}', "`model_config.max_concurrent_mod"),
        ('{"model_mapping": {"gpt-4": 4}}', "`model_mapping"),
        ('{"modelmapping": {}}', "`modelmapping`: unknown section"),
        ('{"model_config": ', "is not a JSON object"),
        (None, "there is no such file"),
    ],
)
def test_an_invalid_edit_changes_nothing_and_is_named(
    file: Path, text: str | None, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(json.dumps(NARROW))
    watch = config_watch.Watch()
    looks(watch)
    assert held() == 2
    file.unlink() if text is None else file.write_text(text)
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            watch.look()
    assert held() == 2
    assert place in django_settings.HUB_CONFIG_PROBLEMS[0]
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith(f"{file}: ")
    assert place in line
    file.write_text(json.dumps(NARROW))
    looks(watch)
    assert django_settings.HUB_CONFIG_PROBLEMS == []


def test_a_look_that_fails_is_not_the_last(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked, stopped = threading.Event(), threading.Event()
    watch = config_watch.Watch()

    def look() -> None:
        looked.set() if caplog.records else None
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(config_watch, "EVERY_S", 0.01)
    monkeypatch.setattr(watch, "look", look)
    thread = threading.Thread(target=watch.run, args=(stopped,), daemon=True)
    thread.start()
    assert looked.wait(10)
    stopped.set()
    thread.join(10)
    assert "could not be followed" in caplog.records[0].getMessage()


def test_a_file_that_is_being_written_is_not_read(file: Path) -> None:
    watch = config_watch.Watch()
    looks(watch)
    file.write_text('{"model_config": ')
    watch.look()
    file.write_text(json.dumps(NARROW))
    looks(watch)
    assert held() == 2
    assert django_settings.HUB_CONFIG_PROBLEMS == []


def test_a_link_that_turns_is_an_edit(file: Path, tmp_path: Path) -> None:
    """So a mounted ConfigMap changes."""
    (tmp_path / "new.json").write_text(json.dumps(NARROW))
    watch = config_watch.Watch()
    looks(watch)
    file.unlink()
    file.symlink_to(tmp_path / "new.json")
    looks(watch)
    assert held() == 2


def test_a_reader_that_puts_the_old_one_back_does_not_last(file: Path, settings: Any) -> None:
    file.write_text(json.dumps(NARROW))
    watch, old = config_watch.Watch(), settings.HUB_CONFIG
    looks(watch)
    settings.HUB_CONFIG = old
    watch.look()
    assert held() == 2


@pytest.mark.parametrize("text", ['{"modelmapping": {}}', None])
def test_a_process_that_starts_again_takes_what_was_valid_last(
    file: Path, tmp_path: Path, settings: Any, text: str | None
) -> None:
    settings.HUB_CONFIG_KEPT = tmp_path / "kept.json"
    settings.HUB_CONFIG = config.parse(json.dumps(NARROW).encode())
    assert config_watch.keep()
    file.unlink() if text is None else file.write_text(text)
    found, problems, is_kept = config.load_or_kept(file, settings.HUB_CONFIG_KEPT, is_named=True)
    assert (found.model_config.max_concurrent_models, is_kept) == (2, True)
    settings.HUB_CONFIG_PROBLEMS, settings.HUB_CONFIG_IS_KEPT = problems, True
    assert [message.is_serious() for message in checks.check_config_file()] == [False]
    found, problems, is_kept = config.load_or_kept(file, None, is_named=True)
    assert (found, len(problems), is_kept) == (config.HubConfig(), 1, False)


# --- the whole hub --------------------------------------------------------------------------------

MODELS = [
    {"name": name, "kind": "llm", "engine": "fake", "path": ""} for name in ("one", "two", "three")
]


def ask(hub: servers.Hub, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    with hub.client() as client:
        return client.post("/chat/completions", json=body).status_code


def told(hub: servers.Hub, path: str, **params: str) -> Any:
    headers = {"Authorization": f"Bearer {hub.key}"}
    return httpx.get(f"{hub.url}/api/v1/{path}", params=params, headers=headers, timeout=60).json()


def audited(hub: servers.Hub) -> int:
    return int(told(hub, "audit", action="config.change")["count"])


def resident(hub: servers.Hub) -> list[str]:
    return [model["name"] for model in told(hub, "status")["models"] if model["state"] == "ready"]


def test_every_process_follows_an_edit_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "hub.json"
    file.write_text("{}")
    keys = {"default": {"scopes": ["inference", "status:read", "admin:audit"]}}
    with servers.hub(MODELS, keys=keys, AI_HUB_CONFIG=str(file)) as hub:
        twin = servers.another_web(hub)
        assert [ask(each, "gpt-x") for each in (hub, twin)] == [404, 404]
        assert [ask(hub, name) for name in ("one", "two", "three")] == [200, 200, 200]
        before = audited(hub)
        file.write_text(json.dumps({"model_mapping": {"gpt-x": "one"}} | NARROW))
        servers.until(lambda: ask(hub, "gpt-x") == 200 == ask(twin, "gpt-x"))
        servers.until(lambda: len(resident(hub)) == 2)
        servers.until(lambda: audited(hub) == before + 1)
        file.write_text('{"model_mapping": {"gpt-x": 1}}')
        logs = ("web", "node", f"web-{twin.port}")
        servers.until(lambda: all("`model_mapping" in hub.log(name) for name in logs))
        assert (ask(hub, "gpt-x"), ask(twin, "gpt-x")) == (200, 200)
        assert audited(hub) == before + 1
