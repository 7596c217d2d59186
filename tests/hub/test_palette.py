"""What Ctrl-K finds: what there is for whoever asks, and nothing else."""

import pytest
from django.test import Client

from accounts import keys, principals
from accounts.models import Team, User
from inference.models import Alias, Model
from training.models import DataSet, DataSetVersion, Job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture(name="ada")
def _ada() -> User:
    ada = User.objects.create(username="ada", role="admin")
    model = Model.objects.create(name="calm", kind="llm", engine="fake", path="/m")
    Alias.objects.create(name="team/chat", target=model)
    data_set = DataSet.objects.create(name="foxes", owner=ada)
    version = DataSetVersion.objects.create(data_set=data_set, number=1, address="c" * 64)
    job = {"base": "calm", "version": version, "training_type": "lora", "owner": ada}
    Job.objects.create(id="ftjob-1", suffix="fox", **job)
    keys.issue(ada, "laptop", ["models:read"], by=principals.of_user(ada))
    return ada


def found(client: Client, user: User) -> dict[str, str]:
    client.force_login(user)
    entries = client.get("/palette/").json()["entries"]
    return {entry["title"]: entry["url"] for entry in entries if "url" in entry}


def test_it_finds_things_of_every_kind(client: Client, ada: User) -> None:
    things = found(client, ada)
    assert things["calm"] == "/models/about/calm/"
    assert things["team/chat"] == "/aliases/edit/team/chat/"
    assert things["foxes"].startswith("/datasets/about/")
    assert things["fox ftjob-1"] == "/training/about/ftjob-1/"
    assert things["laptop"] == "/keys/"
    assert things["ada"] == "/access/people/about/ada/"
    assert things["Files"] == "/files/"
    for url in set(things.values()) - {"/mlflow/"}:  # a server of its own
        assert client.get(url, follow=True).status_code == 200, url


def test_it_finds_nothing_that_one_may_not_see(client: Client, ada: User) -> None:
    Team.objects.create(name="red")
    DataSet.objects.update(team=Team.objects.get(name="red"), visibility="team")
    Job.objects.update(team=Team.objects.get(name="red"), visibility="team")
    things = found(client, User.objects.create(username="vera", role="viewer"))
    assert "calm" in things
    assert not things.keys() & {"team/chat", "foxes", "fox ftjob-1", "laptop", "ada"}
