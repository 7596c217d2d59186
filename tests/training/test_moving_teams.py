"""What a team trained on goes to another team with the rest, and nothing is overwritten."""

import pytest

from accounts import principals, teams
from accounts.denials import InTheWay
from accounts.models import Team, User
from training.models import DataSet

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    return User.objects.create(username="root", role="admin")


def test_data_sets_go_to_the_other_team_unless_a_name_is_taken(root: User) -> None:
    by = principals.of_user(root)
    old, new = Team.objects.create(name="old"), Team.objects.create(name="new")
    mine = DataSet.objects.create(team=old, name="talks")
    theirs = DataSet.objects.create(team=new, name="talks")
    with pytest.raises(InTheWay, match="new has a dataset of the same name"):
        teams.remove(old, by, new)
    assert {*Team.objects.filter(name__in=["old", "new"])} == {old, new}
    theirs.delete()
    teams.remove(old, by, new)
    mine.refresh_from_db()
    assert mine.team == new
