"""How long a plan says that a training takes: as a job before it, or by what this machine computes."""

import contextlib
import datetime as dt
import threading
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts import principals, teams
from accounts.models import Team, User
from accounts.principals import Principal
from inference.models import Model
from tests import servers
from tests.training import jobs as real
from tests.training.test_recipes import BASE, ROWS
from training import jobs, plans, rates, shelf
from training.datasets.report import Report, lengths
from training.datasets.validation import REPORT
from training.models import DataSet, DataSetVersion, Job, JobEvent
from training.recipes import work
from training.recipes.recipe import Recipe


def operations(**recipe: Any) -> float:
    return work.operations(BASE, msgspec.convert(recipe, Recipe), ROWS, 1_000)


def test_a_step_of_an_adapter_is_two_passes_through_every_weight() -> None:
    body = BASE.parameters - BASE.plain_parameters
    head = BASE.vocabulary * BASE.hidden * ROWS.supervised_tokens / ROWS.tokens
    assert operations() == pytest.approx(4_000 * (body + head))
    assert operations(tuner="full") == pytest.approx(6_000 * (body + head))
    assert operations(gradient_checkpointing=True) - operations() == pytest.approx(2_000 * body)
    assert operations(objective="dpo", epochs=1) == pytest.approx(12_000 * (body + head))


# --- a plan ---------------------------------------------------------------------------------------


@pytest.fixture
def who(settings: Settings, tmp_path: Path, db: None) -> Principal:
    settings.HUB_DATA = tmp_path
    user = User.objects.create(username="trina", role="trainer")
    teams.add(teams.create("red"), user, None, "trainer")
    return principals.of_user(user)


@pytest.fixture
def wanted(who: Principal, tmp_path: Path) -> jobs.Wanted:
    mine: dict[str, Any] = {"team": Team.objects.get(name="red"), "visibility": "team"}
    place = str(real.tiny_base(tmp_path / "base"))
    Model.objects.create(name="base", kind="llm", engine="llm_transformers", path=place, **mine)
    data_set = DataSet.objects.create(name="s", team=mine["team"])
    version = DataSetVersion.objects.create(
        data_set=data_set, number=1, state="ready", format="chat", train_rows=8, characters=4_000
    )
    return jobs.Wanted(base="base", training_type="lora", version=version)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("idle_node")
def test_a_base_that_was_never_trained_is_timed_by_the_machine(
    wanted: jobs.Wanted, who: Principal
) -> None:
    """The first who asks has it measured: a real process takes real steps."""
    first = plans.shown(plans.of(wanted, who))
    assert (first["seconds"], first["seconds_source"]) == (None, "none")
    assert "being measured" in first["seconds_reason"]
    rates.turn(threading.Event())
    plan = plans.of(wanted, who)
    rate = rates.known(plan.found.resolved.recipe.precision)
    assert rate is not None
    assert rate > 1e8
    found = plan.found
    computed = work.operations(found.base, found.resolved.recipe, found.rows, plan.tokens)
    assert plan.time.seconds == pytest.approx(computed / rate, abs=0.1)
    assert (plan.time.source, "GFLOP/s" in plan.time.reason) == ("machine", True)


def _commands() -> list[list[str]]:
    """Of this process's children; one that has just ended has none."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            found.append(child.cmdline())
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("idle_node", "who")
def test_a_worker_that_ends_does_not_wait_for_the_measurement() -> None:
    """The next one measures instead."""
    stopped = threading.Event()
    rates.ask()
    measuring = threading.Thread(target=rates.turn, args=(stopped,))
    measuring.start()
    try:
        servers.until(lambda: any("training.run.rate" in one for one in _commands()))
    finally:
        stopped.set()
        measuring.join(30)
    assert not measuring.is_alive()
    assert rates.known("float32") is None
    assert (rates._folder() / rates.WANTED).exists()


def test_nothing_is_measured_that_nobody_asked_for(who: Principal) -> None:
    rates.turn(threading.Event())
    assert rates.known("float32") is None


def trained(wanted: jobs.Wanted, team: int | None) -> Job:
    """One of yesterday, at 50 tokens a second."""
    before = Job.objects.create(
        base="base", version=wanted.version, training_type="lora", team_id=team, visibility="team"
    )
    told: dict[str, Any] = {"data": {"tokens_per_s": 50.0}, "message": ""}
    at = timezone.now() - dt.timedelta(days=1)
    JobEvent.objects.create(job=before, seq=1, type="metrics", at=at, **told)
    return before


def test_a_job_before_it_says_more_than_the_machine(wanted: jobs.Wanted, who: Principal) -> None:
    before = trained(wanted, who.team_id)
    plan = plans.of(wanted, who)
    assert plan.time.seconds == pytest.approx(plan.tokens / 50, abs=0.1)
    assert (plan.time.source, before.pk in plan.time.reason) == ("job", True)


def test_only_rows_that_are_trained_on_take_time(wanted: jobs.Wanted, who: Principal) -> None:
    """Of 16 rows that were counted, half are held out."""
    counted = lengths([10] * 16, 8 * 16, 2_048)
    folder = shelf.folder(wanted.version.pk)
    folder.mkdir(parents=True)
    report = Report(writing="jsonl", lengths=counted)
    (folder / REPORT).write_bytes(msgspec.json.encode(report))
    plan = plans.of(wanted, who)
    assert plan.tokens == 8 * 10 * plan.found.resolved.recipe.epochs
    assert plan.found.rows.supervised_tokens == 8 * 8


def test_a_job_of_another_team_is_not_told_of(wanted: jobs.Wanted, who: Principal) -> None:
    other = trained(wanted, teams.create("blue").pk)
    plan = plans.of(wanted, who)
    assert plan.time.source != "job"
    assert other.pk not in plan.time.reason
