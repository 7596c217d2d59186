"""Doctor names each problem with its cure, and ends with 1 when there is one."""

import os
import shutil
from pathlib import Path

import pytest
from django.conf import settings

from hub import config, doctor
from hub.supervisor import claims
from inference import starters
from inference.models import Model
from tests.hub import processes


def report(data: Path, **variables: str) -> tuple[int, str]:
    done = processes.manage(data, processes.free_port(), "doctor", **variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_it_calls_nothing_wrong_that_the_first_start_does(tmp_path: Path) -> None:
    _code, text = report(tmp_path, AI_HUB_MODELS=str(tmp_path / "none"))
    assert "ok       database: sqlite" in text
    assert "make run applies them" in text
    assert "ok       smollm2-135m-instruct: not fetched yet; make run fetches it" in text
    assert "ok       Python" in text
    assert "ok       Redis: embedded" in text


def test_it_finds_bad_variables_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "hub.json").write_text('{"model_config": {"max_models": 1}}')
    code, text = report(
        tmp_path,
        AI_HUB_LOG_LEVEL="loud",
        AI_HUB_CONFIG=str(tmp_path / "hub.json"),
        AI_HUB_REDIS_URL="redis://127.0.0.1:1",
    )
    assert code == 1
    assert "AI_HUB_LOG_LEVEL" in text
    assert "max_models" in text
    assert "check AI_HUB_REDIS_URL" in text


def test_it_finds_a_database_that_is_away(tmp_path: Path) -> None:
    url = "postgres://nobody@127.0.0.1:1/none"
    code, text = report(tmp_path, AI_HUB_DATABASE_URL=url)
    assert code == 1
    assert "check AI_HUB_DATABASE_URL" in text


def test_it_finds_a_changed_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HUB_MODELS", tmp_path)
    chat = starters.by_name("smollm2-135m-instruct")
    assert chat is not None
    chat.folder(tmp_path).mkdir()
    with chat.path(tmp_path).open("wb") as file:
        file.truncate(chat.size_bytes)
    (finding,) = [found for found in doctor.CHECKS[-1]() if found.what == chat.name]
    assert "not the pinned files" in finding.detail
    assert str(chat.folder(tmp_path)) in finding.cure
    shutil.rmtree(chat.folder(tmp_path))
    (finding,) = [found for found in doctor.CHECKS[-1]() if found.what == chat.name]
    assert finding.detail == "not fetched yet; make run fetches it"
    assert not finding.cure
    monkeypatch.setattr(settings, "HUB_DATA", tmp_path)
    claim = claims.claim_folder(tmp_path)
    (finding,) = [found for found in doctor.CHECKS[-1]() if found.what == chat.name]
    os.close(claim)
    assert (finding.detail, finding.ok) == ("its files are missing", False)


@pytest.mark.django_db
def test_it_finds_names_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    Model.objects.create(name="there", kind="llm", engine="fake", path="/m")
    found = config.parse(
        b'{"model_mapping": {"ghost": "nowhere", "mine": "there", "twice": "mine", "far": "ghost",'
        b' "a": "b", "b": "a", "there": "there"},'
        b' "model_config": {"priority_models": ["there", "typo"]}}'
    )
    monkeypatch.setattr(settings, "HUB_CONFIG", found)
    details = [finding.detail for finding in doctor._configuration()]
    assert details == [
        "`model_config.priority_models` names `typo`, which is no model",
        "`model_mapping.ghost` leads to `nowhere`, which is no model: `ghost` -> `nowhere`",
        "`model_mapping.far` leads to `nowhere`, which is no model: `far` -> `ghost` -> `nowhere`",
        "`model_mapping.a` goes in a circle: `a` -> `b` -> `a`",
        "`model_mapping.b` goes in a circle: `b` -> `a` -> `b`",
    ]


def test_it_finds_them_before_the_first_start_too(tmp_path: Path) -> None:
    """There are no tables yet: the starter models count."""
    file = tmp_path / "hub.json"
    file.write_text('{"model_mapping": {"gpt-4.1": "nosuch", "mine": "gpt-4o"}}')
    found = processes.manage(tmp_path, 1, "doctor", AI_HUB_CONFIG=str(file)).stdout
    assert "PROBLEM  configuration: `model_mapping.gpt-4.1` leads to `nosuch`" in found
    assert "`model_mapping.mine`" not in found


def test_the_web_process_warns_of_them_at_its_start(tmp_path: Path) -> None:
    file = tmp_path / "hub.json"
    file.write_text('{"model_mapping": {"gpt-4.1": "nosuch"}}')
    with processes.web(tmp_path, AI_HUB_CONFIG=str(file)):
        log = (tmp_path / "web.log").read_text()
    assert "Warning: `model_mapping.gpt-4.1` leads to `nosuch`, which is no model" in log
