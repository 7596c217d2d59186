"""A trained model takes an alias, whole or in part, if the gate lets it; MLflow's aliases follow."""

import json
from typing import Any

import pytest
from pytest_django import Settings

from accounts import principals, teams
from accounts.models import AuditRow, Team, User
from accounts.principals import Principal
from inference import aliases
from inference.errors import Conflict, PermissionDenied
from inference.models import Alias, Model
from training import contract, promotions, stages
from training.models import DataSet, DataSetVersion, Job
from training.tracking import bookmark

pytestmark = pytest.mark.django_db(transaction=True)
PASSED = {"outcome": "passed", "checks": []}
CHECK = {"name": "guard_ratio", "value": 1.2, "limit": 1.05, "passed": False}
LEVEL = {"name": "champion_loss_ratio", "value": 1.0, "limit": 1.02, "passed": True}
BESIDE = PASSED | {"champions": {"one": [LEVEL]}}
WORSE = PASSED | {"champions": {"one": [LEVEL | {"value": 1.5, "passed": False}]}}
FAILED = {"outcome": "failed", "checks": [CHECK]}


@pytest.fixture(autouse=True)
def team(settings: Settings, tmp_path: Any) -> Team:
    settings.HUB_DATA = tmp_path
    return teams.create("red")


@pytest.fixture
def trainer(team: Team) -> Principal:
    user = User.objects.create(username="trina", role="trainer")
    teams.add(team, user, None, "trainer")
    return principals.of_user(user)


def trained(team: Team, name: str, verdict: dict[str, Any] | None = None) -> Job:
    """A job that succeeded, and its model."""
    mine = {"team": team, "visibility": "team"}
    Model.objects.create(name=name, kind="llm", engine="fake", path="/m", **mine)
    data_set, _ = DataSet.objects.get_or_create(name="s", team=team)
    version, _ = DataSetVersion.objects.get_or_create(data_set=data_set, number=1)
    job = Job.objects.create(
        base="b", version=version, training_type="lora", fine_tuned_model=name,
        state=Job.State.SUCCEEDED, verdict=verdict, **mine,
    )  # fmt: skip
    job.folder().mkdir(parents=True)
    return job


def lead(team: Team, name: str, model: str, visibility: str = "team") -> Alias:
    wanted = aliases.Wanted(targets=[{"model": model}])
    return aliases.create(name, wanted, team=team, visibility=visibility)


def shares(alias: Alias) -> dict[str, float]:
    alias.refresh_from_db()
    return {target["model"]: target["weight"] for target in aliases.shown_targets(alias)}


def called() -> dict[str, tuple[str, str]]:
    """Of each job's model: as the row says, and as its tracker is asked."""
    return {
        job.fine_tuned_model: (job.stage, bookmark.wanted_stage(job.folder()))
        for job in Job.objects.all()
    }


def want(**more: Any) -> promotions.Wanted:
    return promotions.Wanted(alias="helper", **more)


def test_an_alias_is_made_switched_and_given_back(team: Team, trainer: Principal) -> None:
    one, two = trained(team, "one", PASSED), trained(team, "two", BESIDE)
    alias = promotions.promote(one, want(), trainer)
    assert (shares(alias), alias.team, alias.visibility) == ({"one": 1.0}, team, "team")
    assert called()["one"] == ("champion", "champion")
    promotions.promote(two, want(), trainer)
    assert list(shares(alias)) == ["two"]
    assert called() == {"one": ("previous", "previous"), "two": ("champion", "champion")}
    promotions.roll_back(two, "helper", trainer)
    assert list(shares(alias)) == ["one"]
    assert called() == {"one": ("champion", "champion"), "two": ("previous", "previous")}
    rows = AuditRow.objects.filter(object_id=two.pk).order_by("seq")
    assert [row.action for row in rows] == ["job.promote", "job.roll_back"]


def test_the_only_one_that_ever_answered_stays(team: Team, trainer: Principal) -> None:
    one = trained(team, "one", PASSED)
    alias = promotions.promote(one, want(), trainer)
    with pytest.raises(Conflict, match="Nothing else"):
        promotions.roll_back(one, "helper", trainer)
    assert list(shares(alias)) == ["one"]


def test_a_canary_takes_its_share_and_grows(team: Team, trainer: Principal) -> None:
    one, two = trained(team, "one", PASSED), trained(team, "two", BESIDE)
    alias = promotions.promote(one, want(), trainer)
    promotions.promote(two, want(percent=10), trainer)
    assert shares(alias) == {"one": 90.0, "two": 10.0}
    assert called()["one"] == ("champion", "champion")
    promotions.promote(two, want(percent=40), trainer)
    assert shares(alias) == {"one": 60.0, "two": 40.0}
    promotions.roll_back(two, "helper", trainer)
    assert list(shares(alias)) == ["one"]
    with pytest.raises(Conflict, match="does not lead"):
        promotions.roll_back(two, "helper", trainer)


def test_a_canary_needs_somebody_beside_it(team: Team, trainer: Principal) -> None:
    with pytest.raises(Conflict):
        promotions.promote(trained(team, "one", PASSED), want(percent=10), trainer)
    assert not Alias.objects.exists()


@pytest.mark.parametrize(("verdict", "words"), [(FAILED, "guard_ratio is 1.2"), (None, "held out")])
def test_the_gate_refuses_unless_it_is_forced(
    team: Team, trainer: Principal, verdict: dict[str, Any] | None, words: str
) -> None:
    job = trained(team, "one", verdict)
    with pytest.raises(Conflict, match=words):
        promotions.promote(job, want(), trainer)
    assert not Alias.objects.exists()
    promotions.promote(job, want(force=True), trainer)
    assert Alias.objects.get().target.name == "one"
    row = AuditRow.objects.get(action="job.promote", object_id=job.pk)
    assert '"force": true' in row.after or '"force":true' in row.after


def test_what_others_use_needs_the_right_to_change_names(team: Team, trainer: Principal) -> None:
    job = trained(team, "one", PASSED)
    Model.objects.create(name="shared", kind="llm", engine="fake", path="/m", team=team)
    lead(team, "helper", "shared", visibility="hub")
    with pytest.raises(PermissionDenied, match="models:write"):
        promotions.promote(job, want(), trainer)


def test_only_who_trains_in_its_team_promotes_it(team: Team) -> None:
    job = trained(team, "one", PASSED)
    stranger = User.objects.create(username="stan", role="viewer")
    teams.add(team, stranger, None, "viewer")
    with pytest.raises(PermissionDenied):
        promotions.promote(job, want(), principals.of_user(stranger))


def test_mlflow_follows_an_alias_that_somebody_else_moved(team: Team, trainer: Principal) -> None:
    one = trained(team, "one", PASSED)
    trained(team, "two", PASSED)
    alias = promotions.promote(one, want(), trainer)
    aliases.change(alias, aliases.Wanted(targets=[{"model": "two"}]))
    stages.follow_aliases()
    assert called() == {"one": ("previous", "previous"), "two": ("champion", "champion")}
    aliases.remove(Alias.objects.get())
    stages.follow_aliases()
    assert called() == {"one": ("none", "none"), "two": ("none", "none")}


def test_a_job_without_a_model_is_not_promoted(team: Team, trainer: Principal) -> None:
    job = trained(team, "one", PASSED)
    Model.objects.all().delete()
    with pytest.raises(Conflict, match="no model"):
        promotions.promote(job, want(), trainer)


# --- beside who answers now -----------------------------------------------------------------------


def measured(job: Job, loss: float) -> None:
    found = {"loss": loss, "metrics": {"base_loss": 9.0}}
    (job.folder() / contract.EVALUATION).write_text(json.dumps(found))


def test_a_worse_one_does_not_take_the_champions_place(team: Team, trainer: Principal) -> None:
    one, two = trained(team, "one", PASSED), trained(team, "two", WORSE)
    alias = promotions.promote(one, want(), trainer)
    for percent in (10.0, 100.0):
        with pytest.raises(Conflict, match=r"worse than one.*champion_loss_ratio is 1\.5"):
            promotions.promote(two, want(percent=percent), trainer)
    assert list(shares(alias)) == ["one"]
    promotions.promote(two, want(force=True), trainer)
    assert list(shares(alias)) == ["two"]


def test_one_that_was_measured_on_other_rows_is_not_known_to_be_better(
    team: Team, trainer: Principal
) -> None:
    one, two = trained(team, "one", PASSED), trained(team, "two", PASSED)
    data_set = two.version.data_set
    other = DataSetVersion.objects.create(data_set=data_set, number=2, address="2")
    Job.objects.filter(pk=two.pk).update(version=other)
    two.refresh_from_db()
    measured(one, 2.0)
    measured(two, 1.0)
    promotions.promote(one, want(), trainer)
    with pytest.raises(Conflict, match="not measured beside one"):
        promotions.promote(two, want(), trainer)


def test_the_same_held_out_rows_compare_two_trainings(team: Team, trainer: Principal) -> None:
    one, two, three = (trained(team, name, PASSED) for name in ("one", "two", "three"))
    for job, loss in ((one, 2.0), (two, 1.9), (three, 2.5)):
        measured(job, loss)
    alias = promotions.promote(one, want(), trainer)
    promotions.promote(two, want(), trainer)
    with pytest.raises(Conflict, match="worse than two"):
        promotions.promote(three, want(), trainer)
    assert list(shares(alias)) == ["two"]


def test_a_model_that_was_not_trained_here_is_no_champion(team: Team, trainer: Principal) -> None:
    Model.objects.create(name="plain", kind="llm", engine="fake", path="/m", team=team)
    alias = lead(team, "helper", "plain")
    promotions.promote(trained(team, "one", PASSED), want(), trainer)
    assert list(shares(alias)) == ["one"]
