"""Rows that are too long are counted before a job is queued, as its training will find them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import default_team_id
from inference.models import Model
from tests.training import jobs as real
from training import jobs, lengths, shelf
from training.models import DataSet, DataSetVersion, Job
from training.recipes.recipe import Recipe
from training.run import rows
from training.run.rendering import Renderer

State = Job.State
MAX_LENGTH = 40
WAIT_S = 120.0
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]


@pytest.fixture(name="base")
def _base(settings: Settings, tmp_path: Path) -> Path:
    settings.HUB_DATA = tmp_path
    place = real.tiny_base(tmp_path / "tiny")
    Model.objects.create(name="tiny", kind="llm", engine="llm_transformers", path=str(place))
    return place


def chat(asked: str, said: str) -> dict[str, Any]:
    turns = [("user", asked), ("assistant", said)]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def version(given: list[dict[str, Any]]) -> DataSetVersion:
    """Checked without a base, as a file of /v1 is."""
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    known: dict[str, Any] = {"format": "chat", "train_rows": len(given), "characters": 4_000}
    made = DataSetVersion.objects.create(data_set=data_set, number=1, state="ready", **known)
    shelf.folder(made.pk).mkdir(parents=True)
    made.train_path().write_text("".join(json.dumps(row) + "\n" for row in given))
    return made


def prepared(made: DataSetVersion, max_length: int) -> Job:
    """Prepare it again and again, as the worker does."""
    job = Job.objects.create(
        base="tiny", training_type="lora", team_id=made.data_set.team_id, version=made,
        config={"max_length": max_length},
    )  # fmt: skip
    end_s = time.monotonic() + WAIT_S
    jobs.prepare(job)
    job.refresh_from_db()
    while job.state == State.VALIDATING and time.monotonic() < end_s:
        assert job.reason == lengths.COUNTING
        time.sleep(0.1)
        jobs.prepare(job)
        job.refresh_from_db()
    assert (job.state, job.error_message) == (State.QUEUED, "")
    return job


def told(job: Job) -> dict[str, int]:
    return {one.data["code"]: one.data["rows"] for one in job.events.filter(level="warn")}


def test_what_is_told_before_the_start_is_what_the_training_finds(base: Path) -> None:
    long = "the fox runs over the hill and the river " * 8
    given = [*real.chats(5), *(chat("say 1", long + str(at)) for at in range(3))]
    given += [chat(long, "no"), chat(long, "yes")]
    made = version(given)
    job = prepared(made, MAX_LENGTH)
    found = rows.read(made.train_path(), "chat", Renderer.load(base), Recipe(max_length=MAX_LENGTH))
    assert told(job) == {"rows_cut": 3, "rows_left_out": 2}
    assert (found.cut_rows, sum(found.left_out.values())) == (3, 2)
    texts = [one.message for one in job.events.filter(level="warn")]
    assert "3 of 10 rows are longer than max_length 40: they will be cut." in texts
    again = prepared(made, MAX_LENGTH)  # counted once: it is known at once
    assert told(again) == told(job)


def test_where_all_fits_nothing_is_counted_and_nothing_told(base: Path) -> None:
    made = version(real.chats(10))
    bound = max(map(len, made.train_path().read_text().splitlines())) + 100
    job = prepared(made, bound)
    assert not told(job)
    assert not [*shelf.folder(made.pk).glob("lengths-*")]
    assert lengths.known(made, base, bound) is not None


def test_data_that_cannot_be_counted_stops_no_job(base: Path) -> None:
    (base / "tokenizer.json").write_text("{}")
    job = prepared(version([*real.chats(9), chat("say 1", "fox " * 400)]), MAX_LENGTH)
    assert not told(job)
