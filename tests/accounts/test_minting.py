"""Nobody gets through somebody else's account what they do not hold themselves in the same place."""

import datetime as dt

import pytest
from django.test import Client
from django.utils import timezone

from accounts import applications, keys, people, principals, scopes, service_accounts, teams
from accounts.applications import AppRefused, Wanted
from accounts.authentication import authenticate_now
from accounts.denials import NotAllowed
from accounts.models import Membership, Role, Team, User
from tests.accounts.application_cases import register
from tests.accounts.conftest import PASSWORD, MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)
KEEPS_PEOPLE_ONLY = ["admin:users", *scopes.ROLES["developer"]]
KEEPS_PEOPLE = [*scopes.WIDE["users:manage"], *scopes.ROLES["developer"]]


@pytest.fixture
def red() -> Team:
    return teams.create("red")


@pytest.fixture
def hr(person: MakeUser, red: Team) -> User:
    """Who keeps people and programs, and is an operator in one team only."""
    Role.objects.create(name="hr", scopes=KEEPS_PEOPLE)
    made = person("hr", "hr")
    teams.add(red, made, None, Membership.Level.MANAGER, role="operator")
    return made


class TestKeysOfOthers:
    def test_a_right_of_one_team_gives_no_key_that_holds_everywhere(
        self, hr: User, red: Team, person: MakeUser
    ) -> None:
        ops = person("ops", "operator")
        teams.add(red, ops, None)
        with pytest.raises(keys.NotHeld, match="models:write"):
            keys.issue(ops, "mine", ["models:write"], by=session_of(hr), team=red)
        assert keys.issue(ops, "chat", ["inference:chat"], by=session_of(hr), team=red)

    def test_nor_one_in_place_of_another(self, hr: User, red: Team, person: MakeUser) -> None:
        ops = person("ops", "operator")
        teams.add(red, ops, None)
        key, _ = keys.issue(ops, "k", ["models:write"], by=session_of(ops), team=red)
        with pytest.raises(keys.NotHeld, match="models:write"):
            keys.rotate(key, session_of(hr))

    def test_who_holds_it_in_that_team_alone_gets_it_there_alone(
        self, hr: User, red: Team, person: MakeUser
    ) -> None:
        dev = person("dev")
        teams.add(red, dev, None, role="operator")
        _, plaintext = keys.issue(dev, "k", ["models:write"], by=session_of(hr), team=red)
        rights = authenticate_now({"x-api-key": plaintext}, None)
        assert rights.allows_in("models:write", red.pk)
        assert not rights.allows_on_hub("models:write")


class TestNewPeople:
    """Who is in a team sees what is private to it: its managers say who comes in."""

    @pytest.fixture
    def keeper(self, person: MakeUser, red: Team) -> User:
        """Who keeps people, and is no more than a member of one team."""
        Role.objects.create(name="hr", scopes=KEEPS_PEOPLE_ONLY)
        made = person("kay", "hr", PASSWORD)
        teams.add(red, made, None)
        return made

    def test_nobody_makes_one_in_a_team_that_they_do_not_manage(
        self, keeper: User, red: Team
    ) -> None:
        by = session_of(keeper)
        for team in (red, teams.create("blue")):
            with pytest.raises(NotAllowed):
                people.create("mole", PASSWORD, "viewer", by=by, team=team)
        assert people.create("bo", PASSWORD, "viewer", by=by).team == Team.objects.get(
            is_default=True
        )
        Membership.objects.filter(team=red, user=keeper).update(level="manager")
        assert people.create("cy", PASSWORD, "viewer", by=session_of(keeper), team=red).team == red

    def test_nor_on_the_page(self, keeper: User, client: Client) -> None:
        teams.create("blue")
        client.force_login(keeper)
        wanted = {"username": "mole", "password": PASSWORD, "role": "viewer"}
        for team in ("red", "blue", "no-such"):
            assert client.post("/access/people/new/", wanted | {"team": team}).status_code == 400
        assert not User.objects.filter(username="mole").exists()
        page = client.get("/access/people/new/").content.decode()
        assert [name in page for name in ('value="default"', 'value="red"', 'value="blue"')] == [
            True,
            False,
            False,
        ]
        assert client.post("/access/people/new/", wanted | {"team": "default"}).status_code == 302


class TestApplicationsOfPrograms:
    def test_one_acts_with_no_more_than_its_maker_holds_there(self, hr: User, red: Team) -> None:
        blue = teams.create("blue")
        bot = service_accounts.create("bot", blue, "operator")
        with pytest.raises(AppRefused, match="models:write"):
            register(hr, service=bot, scopes=["models:write"])
        own = service_accounts.create("own", red, "operator")
        assert register(hr, service=own, scopes=["models:write"])

    def test_a_limited_key_makes_none(self, person: MakeUser, red: Team) -> None:
        ada = person("ada", "admin")
        bot = service_accounts.create("bot", red, "developer")
        ends = timezone.now() + dt.timedelta(days=1)
        may = ["keys:write", "inference:chat", "users:manage"]
        wanted = Wanted("Notes", [], ["inference:chat"], service=bot)
        for narrow in ({"expires_at": ends}, {"networks": ["10.0.0.0/8"]}):
            key, _ = keys.issue(ada, "k", may, by=session_of(ada), **narrow)
            by = principals.of_key(key)
            assert by is not None
            with pytest.raises(AppRefused, match="limited"):
                applications.register(wanted, by)
